// A token for admission, as docs/guide/tokens.md makes one in Node.
import { createHmac } from "node:crypto";

export function sign(secret, claims) {
  const part = (json) => Buffer.from(JSON.stringify(json)).toString("base64url");
  const signed = part({ alg: "HS256" }) + "." + part(claims);
  return signed + "." + createHmac("sha256", secret).update(signed).digest("base64url");
}
