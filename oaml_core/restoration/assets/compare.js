for (const slider of document.querySelectorAll(".compared input")) {
  const move = () => slider.previousElementSibling.style.setProperty("--cut", slider.value + "%");
  slider.addEventListener("input", move);
  move(); // browsers keep a slider's place over a reload
}
