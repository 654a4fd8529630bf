"use strict";
// A photograph from the camera, put into the field for files that the button names. Uses `at` of page.js.
let stream = null, field = null;

function end() {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  at("camera-picture").srcObject = null;
  at("camera-take").disabled = true;
}

for (const button of document.querySelectorAll("button.camera")) {
  // Browsers lend a camera to pages on loopback or behind TLS alone.
  button.hidden = !navigator.mediaDevices;
  button.addEventListener("click", async () => {
    field = at(button.dataset.for);
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", width: { ideal: 1280 } } });
    } catch {
      const why = ["The browser lends no camera.", "Choose a file, or allow the camera for this page."];
      if (field.closest(".drop")) say(...why);
      else tell(why.join(" "));
      return;
    }
    at("camera-picture").srcObject = stream;
    at("camera").showModal();
  });
}

at("camera-picture").addEventListener("playing", () => { at("camera-take").disabled = false; });
at("camera").addEventListener("close", end);
at("camera-close").addEventListener("click", () => at("camera").close());
at("camera-take").addEventListener("click", () => {
  const video = at("camera-picture");
  const canvas = Object.assign(document.createElement("canvas"), { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => {
    const files = new DataTransfer();
    files.items.add(new File([blob], "camera.png", { type: "image/png" }));
    field.files = files.files;
    field.dispatchEvent(new Event("change"));
    at("camera").close();
  }, "image/png");
});
