import type { Options } from "./client.js";
/**
 * The options that a mini program needs: `connect(url, { ...miniProgram(wx) })`, or `uni`.
 *
 * The platform has to tell the subprotocol (the headers of `onOpen`); where it does not, there is no `gw.1`.
 */
export declare const miniProgram: (api: any) => Required<Pick<Options, "socket" | "onWake">>;
