"""prepare → train → evaluate → gate → export → promote: plain functions over a store.

The command line and the Kubeflow components call these and nothing below them. Each stage takes addresses of what
earlier stages put into the store, puts its own results there, the file that makes them complete last, and says
where they are. A stage whose results are there already, from the same inputs, gives those.
"""

from oaml_core.stages.addresses import (
    dated_name,
    fetch_dataset,
    fetch_file,
    fetch_model,
    fetch_scores,
    read_metrics_json,
    run_prefix,
    run_summary,
)
from oaml_core.stages.evaluate_shards import evaluate_by_order, evaluate_shard, plan_evaluation, shards_of
from oaml_core.stages.evaluate_stage import Evaluated, evaluate
from oaml_core.stages.export_stage import Exported, export
from oaml_core.stages.gate_stage import Judged, gate
from oaml_core.stages.night_records import Night
from oaml_core.stages.nightly_stage import data_of_night, judged_night, plan_night, prepare_night
from oaml_core.stages.nightly_status import NightStatus, night_status
from oaml_core.stages.nights import begin_night, end_night, keeping_trouble
from oaml_core.stages.own_faces import OwnFaces, evaluate_own_faces, evaluate_own_faces_shard
from oaml_core.stages.prepare_stage import (
    Prepared,
    dataset_of_checkpoint,
    merge_shards,
    plan_shards,
    prepare,
    prepare_shard,
)
from oaml_core.stages.production import PRODUCTION, champion
from oaml_core.stages.promote_stage import Promoted, promote
from oaml_core.stages.rollback_stage import RolledBack, rollback
from oaml_core.stages.train_stage import Launcher, Trained, check_files, train

__all__ = [
    "PRODUCTION",
    "Evaluated",
    "Exported",
    "Judged",
    "Launcher",
    "Night",
    "NightStatus",
    "OwnFaces",
    "Prepared",
    "Promoted",
    "RolledBack",
    "Trained",
    "adapted_model",
    "added_model",
    "addresses",
    "begin_night",
    "champion",
    "check_files",
    "collect_garbage",
    "data_of_night",
    "dataset_of_checkpoint",
    "dated_name",
    "drift_stage",
    "end_night",
    "evaluate",
    "evaluate_backbone",
    "evaluate_by_order",
    "evaluate_own_faces",
    "evaluate_own_faces_shard",
    "evaluate_shard",
    "export",
    "fetch_dataset",
    "fetch_file",
    "fetch_model",
    "fetch_scores",
    "gate",
    "judged_night",
    "keeping_trouble",
    "load_model",
    "local_runs",
    "merge_shards",
    "night_status",
    "nightly_status",
    "nights",
    "plan_evaluation",
    "plan_night",
    "plan_shards",
    "prepare",
    "prepare_night",
    "prepare_shard",
    "prepare_stage",
    "present_night",
    "production",
    "promote",
    "read_metrics_json",
    "restore_stage",
    "retraining",
    "rollback",
    "run_prefix",
    "run_summary",
    "served_models",
    "shards_of",
    "template_shards",
    "train",
]
