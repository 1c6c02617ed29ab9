// The option `socket` of `connect` for this Node: its own WebSocket, or that of the package `ws`.
export const socket = globalThis.WebSocket
  ? undefined
  : await import("ws").then(({ WebSocket }) => (url, protocols) => new WebSocket(url, protocols));
