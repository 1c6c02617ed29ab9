export { connect, type Client, type Options, type State, type WebSocketLike } from "./client.js";
export type { Data, EventMap, Lost } from "./core.js";
export { miniProgram } from "./mini-program.js";
export { RequestError, type RequestFailure } from "./request.js";
