// The command lines that make the same call as the page: `gatewayworker call …` and curl. The token is not in them.

/** Whether a value stands by its place in the command line; others have a flag. */
function isPositional({ required, kind }) {
  return required || kind === 'message';
}

function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

function words(value, { kind }, isLast) {
  if (Array.isArray(value)) {
    if (kind === 'client_ids' || kind === 'fields') return [value.join(',')];
    return isLast && value.length ? value : [JSON.stringify(value)];
  }
  return [typeof value === 'string' ? value : JSON.stringify(value)];
}

/** The line for `gatewayworker`. `params` are those of the call's table, `given` has the values. */
export function commandLine(name, params, given) {
  const positional = params.filter(isPositional);
  const flags = [];
  const places = [];
  for (const param of params) {
    const value = given[param.name];
    if (value === undefined) continue;
    const texts = words(value, param, param === positional.at(-1));
    const flag = `--${param.name.replaceAll('_', '-')}`;
    if (isPositional(param)) places.push(...texts);
    else if (value === true) flags.push(flag);
    else flags.push(flag, ...texts);
  }
  // Behind -- a message may begin with a dash.
  const guard = places.some((text) => text.startsWith('-')) ? ['--'] : [];
  return ['gatewayworker', 'call', name.replaceAll('_', '-'), ...flags, ...guard, ...places]
    .map((word) => quoted(word))
    .join(' ');
}

/** The lines for curl; the token is in the shell's variable TOKEN. */
export function curlLine(origin, name, given) {
  const body = JSON.stringify({ call: name, params: given });
  return `curl ${origin}/api/call -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d ${quoted(body)}`;
}
