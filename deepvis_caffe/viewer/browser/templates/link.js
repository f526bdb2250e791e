// The connection to the server, which reconnects on its own.

const SHORTEST = 250; // milliseconds between attempts, doubled up to
const LONGEST_WAIT = 5000;
const SILENCE = 9000; // milliseconds; the server sends something every two seconds

const link = {
  socket: null,
  tries: 0,
  lastMessage: 0,
  over: false,
  timer: 0,
  on: {}, // handlers by message type; "picture" for bytes; "open", "close", "refused"

  get up() {
    return this.socket?.readyState === WebSocket.OPEN;
  },

  send(message) {
    if (this.up) this.socket.send(JSON.stringify(message));
    return this.up;
  },

  sendBytes(blob) {
    if (this.up) this.socket.send(blob);
    return this.up;
  },

  connect() {
    clearTimeout(this.timer);
    if (this.socket || this.over) return;
    const url = new URL("ws", location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    url.search = location.search; // the token
    const socket = new WebSocket(url);
    this.socket = socket;
    this.lastMessage = performance.now();
    socket.binaryType = "blob";
    socket.addEventListener("open", () => {
      this.tries = 0;
      this.on.open();
    });
    socket.addEventListener("message", ({ data }) => {
      if (this.socket !== socket) return;
      this.lastMessage = performance.now();
      if (data instanceof Blob) return this.on.picture(data);
      const words = JSON.parse(data);
      if (words.type === "ended") this.over = true;
      this.on[words.type]?.(words);
    });
    socket.addEventListener("close", () => this.lost(socket));
  },

  lost(socket) {
    if (this.socket !== socket) return;
    this.socket = null;
    if (this.over) return;
    const wait = Math.min(SHORTEST * 2 ** this.tries, LONGEST_WAIT) * (0.75 + Math.random() / 2);
    this.tries += 1;
    this.timer = setTimeout(() => this.connect(), wait);
    this.on.close();
    if (this.tries > 1) this.ask();
  },

  // A WebSocket does not tell why it was refused; the page's own URL does.
  async ask() {
    const answer = await fetch(location.href, { method: "HEAD", cache: "no-store" }).catch(() => null);
    if (answer?.status !== 403 || this.up) return;
    this.over = true;
    clearTimeout(this.timer);
    this.on.refused();
  },

  watch() {
    setInterval(() => {
      if (!this.socket || performance.now() - this.lastMessage < SILENCE) return;
      const socket = this.socket; // a dead connection may never close
      socket.close();
      this.lost(socket);
    }, 1000);
    const now = () => {
      if (this.socket || this.over) return;
      this.tries = 0;
      this.connect();
    };
    addEventListener("online", now);
    document.addEventListener("visibilitychange", () => document.hidden || now());
    onPress("again", now);
  },
};
