// `wx` of a WeChat mini program, as far as sockets go, over this Node's WebSocket: written from the documents of the platform
// (wx.connectSocket, SocketTask).
//
// `wx.tells` is whether `onOpen` tells the headers of the answer, which older versions do not. `wx.show()` and `wx.network(isConnected)`
// are what happens to the phone.
import { socket as ofPackage } from "./socket.mjs";

const open = ofPackage ?? ((url, protocols) => new WebSocket(url, protocols));
const shows = [];
const networks = [];

/** The task of a socket. Each method takes an object with `success`, `fail` and `complete`, one of which is called later. */
function taskOf({ url, protocols = [] }) {
  const socket = open(url, protocols);
  socket.binaryType = "arraybuffer";
  const heard = { open: [], message: [], error: [], close: [] };
  const tell = (name, about) => heard[name].forEach((listener) => listener(about));
  const done = (about, errMsg, ok) => setTimeout(() => {
    about[ok ? "success" : "fail"]?.({ errMsg: `${errMsg}:${ok ? "ok" : "fail"}` });
    about.complete?.({});
  });
  let isOver = false;
  const over = (about) => {
    if (!isOver) tell("close", about);
    isOver = true;
  };
  socket.onopen = () => {
    const header = { Upgrade: "websocket", Connection: "Upgrade", ...(socket.protocol && { "sec-websocket-protocol": socket.protocol }) };
    tell("open", wx.tells ? { header, profile: {} } : {});
  };
  socket.onmessage = ({ data }) => tell("message", { data });
  socket.onerror = () => tell("error", { errMsg: "connection failed" });
  socket.onclose = ({ code, reason }) => over({ code, reason });
  return {
    onOpen: (listener) => heard.open.push(listener),
    onMessage: (listener) => heard.message.push(listener),
    onError: (listener) => heard.error.push(listener),
    onClose: (listener) => heard.close.push(listener),
    send(about) {
      const isOpen = socket.readyState === 1;
      if (isOpen) socket.send(about.data);
      done(about, "sendSocketMessage", isOpen);
    },
    close(about) {
      const code = about.code ?? 1000;
      const isValid = code === 1000 || (code >= 3000 && code <= 4999);
      if (isValid) socket.close(code, about.reason ?? "");
      done(about, "closeSocket", isValid);
    },
  };
}

export const wx = {
  tells: true,
  connectSocket: (about) => taskOf(about),
  onAppShow: (listener) => shows.push(listener),
  onNetworkStatusChange: (listener) => networks.push(listener),
  show: () => shows.forEach((listener) => listener({})),
  network: (isConnected) => networks.forEach((listener) => listener({ isConnected, networkType: isConnected ? "wifi" : "none" })),
};
