// WeChat mini programs and uni-app: their sockets as the library wants them.

import type { Options, WebSocketLike } from "./client.js";

/**
 * The options that a mini program needs: `connect(url, { ...miniProgram(wx) })`, or `uni`.
 *
 * The platform has to tell the subprotocol (the headers of `onOpen`); where it does not, there is no `gw.1`.
 */
export const miniProgram = (api: any): Required<Pick<Options, "socket" | "onWake">> => ({
  socket(url, protocols) {
    const task = api.connectSocket({
      url,
      ...(protocols.length && { protocols }),
      // uni-app returns a task only with one of these.
      complete() {},
      fail: () => ended({}),
    });
    const socket: WebSocketLike & { protocol?: string } = {
      onopen: null, onmessage: null, onclose: null, onerror: null,
      send: (data: unknown) => task.send({ data }),
      close: (code = 1000, reason = "") => task.close({ code, reason }),
    };
    const ended = (about: object) => socket.onclose?.(about);
    task.onOpen(({ header }: any = {}) => {
      const name = Object.keys(header || {}).find((name) => /^sec-websocket-protocol$/i.test(name));
      socket.protocol = name ? header[name] : protocols.length ? undefined : "";
      socket.onopen?.({});
    });
    task.onMessage((message: object) => socket.onmessage?.(message));
    task.onClose(ended);
    task.onError(() => ended({}));
    return socket;
  },
  onWake(wake) {
    api.onAppShow?.(wake);
    api.onNetworkStatusChange?.(({ isConnected }: any) => isConnected && wake());
  },
});
