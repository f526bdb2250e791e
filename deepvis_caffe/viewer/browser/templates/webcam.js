// The visitor's webcam as the input: JPEG pictures, each sent once the server has used the last one.

const LONGEST = 640; // pixels of the longer side
const QUALITY = 0.85;
const TROUBLES = {
  NotAllowedError: "The browser was not allowed to use the webcam.",
  NotFoundError: "There is no webcam here.",
  NotReadableError: "The webcam is in use by another program.",
};

const webcam = {
  stream: null,
  video: document.createElement("video"),
  canvas: document.createElement("canvas"),
  busy: false,
  sent: 0,

  get allowed() {
    return Boolean(navigator.mediaDevices?.getUserMedia);
  },

  async start(send) {
    if (!this.allowed) {
      return bar.notice("Browsers allow webcams only over https or at 127.0.0.1: use an ssh tunnel.");
    }
    try {
      const wanted = { width: { ideal: LONGEST }, height: { ideal: 480 }, frameRate: { ideal: 30 } };
      this.stream = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
      this.video.muted = this.video.playsInline = true;
      this.video.srcObject = this.stream;
      await this.video.play();
    } catch (error) {
      this.stop();
      return bar.notice(TROUBLES[error.name] ?? `The webcam does not work: ${error.message}`);
    }
    this.stream.getVideoTracks()[0].addEventListener("ended", () => {
      bar.notice("The webcam was disconnected.");
      this.stop();
      send({ type: "webcam", on: false });
    });
    $("webcam").setAttribute("aria-pressed", "true");
    send({ type: "webcam", on: true });
  },

  stop() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = this.video.srcObject = null;
    $("webcam").setAttribute("aria-pressed", "false");
  },

  // The server is ready for the next picture.
  async next(sendBytes) {
    if (this.busy) return;
    this.busy = true;
    await new Promise((done) => this.video.requestVideoFrameCallback?.(done) ?? setTimeout(done, 33));
    const [width, height] = [this.video.videoWidth, this.video.videoHeight];
    const scale = Math.min(1, LONGEST / Math.max(width, height));
    this.canvas.width = Math.max(1, Math.round(width * scale));
    this.canvas.height = Math.max(1, Math.round(height * scale));
    this.canvas.getContext("2d").drawImage(this.video, 0, 0, this.canvas.width, this.canvas.height);
    const blob = await new Promise((done) => this.canvas.toBlob(done, "image/jpeg", QUALITY));
    this.busy = false;
    if (this.stream && blob && sendBytes(blob)) this.sent += 1;
  },
};
