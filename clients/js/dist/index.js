// The library's public names.
export { connect } from "./client.js";
export { miniProgram } from "./mini-program.js";
export { RequestError } from "./request.js";
