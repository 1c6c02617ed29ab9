//! Sessions that one side writes and the other reads: GatewayClient and handlers of either kind.

use super::Run;
use crate::client::Client;

/// A session, as GatewayClient writes it.
const PHP: &str = r#"['name' => '小明 Åsa', 'n' => 1, 'neg' => -7, 'big' => PHP_INT_MAX, 'f' => 0.1, 'whole' => 2.0, 'huge' => 1e25, 'tiny' => 1.5e-7, 'yes' => true, 'no' => false, 'null' => null, 'list' => [1, 'two', [3]], 'map' => ['a' => ['b' => ['c' => 'd']], 'e' => []], 5 => 'five', '07' => 'text key', -3 => 'negative', 'bin' => "\x00\xff;{}\"", '' => 'empty key']"#;

/// The same session, as a client lets the worker write it.
const JSON: &str = r#"{"name":"小明 Åsa","n":1,"neg":-7,"big":9223372036854775807,"f":0.1,"whole":2.0,"huge":1e25,"tiny":1.5e-7,"yes":true,"no":false,"null":null,"list":[1,"two",[3]],"map":{"a":{"b":{"c":"d"}},"e":[]},"5":"five","07":"text key","-3":"negative"}"#;

pub(super) async fn run(run: &mut Run) {
    // Of the other gateway than the one that asks for it.
    let mut ann = run.client("Ann", 0).await;
    let mut bob = run.client("Bob", 1).await;
    let id = ann.id.clone();

    told(run, "GatewayClient writes", &format!("Gateway::setSession('{id}', {PHP})")).await;
    seen(run, "what GatewayClient wrote", &mut ann, &mut bob).await;
    let answer = ann.ask(&format!("write {JSON}")).await;
    run.note("the worker writes", answer);
    seen(run, "what the worker wrote", &mut ann, &mut bob).await;

    let merge = r#"{"n":2,"list":[9],"map":{"a":{"b":{"x":null}},"e":{"k":1}},"null":[],"new":"值"}"#;
    let answer = ann.ask(&format!("merge {merge}")).await;
    run.note("the worker merges", answer);
    seen(run, "what the worker merged", &mut ann, &mut bob).await;
    let merge = "['n' => 3, 'list' => [1 => 'other', 7 => 'far'], 'map' => ['a' => 'flat'], 5 => ['was' => 'text'], 'f' => -0.0]";
    told(run, "GatewayClient merges", &format!("Gateway::updateSession('{id}', {merge})")).await;
    seen(run, "what GatewayClient merged", &mut ann, &mut bob).await;

    run.note("the worker puts one value", ann.ask(r#"put deep {"a":[{"b":1.5}],"c":""}"#).await);
    run.note("the worker removes one", ann.ask("remove map").await);
    seen(run, "what the worker changed", &mut ann, &mut bob).await;

    for _ in 0..50 {
        ann.say("count").await;
    }
    let mut counts = Vec::new();
    for _ in 0..50 {
        counts.push(ann.hear().await);
    }
    run.note("50 messages at once, each counted in the session", counts);
    // Wait for the last write, which must not arrive after the next one.
    seen(run, "what they left", &mut ann, &mut bob).await;

    told(run, "GatewayClient empties it", &format!("Gateway::setSession('{id}', [])")).await;
    seen(run, "an empty session", &mut ann, &mut bob).await;
    let fresh = bob.id.clone();
    told(run, "GatewayClient empties the other's", &format!("Gateway::setSocketSession('{fresh}', '')"))
        .await;
    told(run, "GatewayClient merges into none", &format!("Gateway::updateSession('{fresh}', ['a' => [1]])"))
        .await;
    seen(run, "what was merged into none", &mut bob, &mut ann).await;
    ann.leave().await;
    bob.leave().await;
    objects(run).await;
}

/// GatewayClient gives a command.
async fn told(run: &mut Run, name: &str, code: &str) {
    run.note_call(name, code).await;
    run.settle().await;
}

/// The session of `whose`, as their own handler, another's handler and GatewayClient see it.
async fn seen(run: &mut Run, what: &str, whose: &mut Client, other: &mut Client) {
    let id = whose.id.clone();
    // A handler's session is written after its answer.
    let mut views = (String::new(), String::new());
    gatewayworker_tests::eventually("two views of a session to agree", async || {
        let stored = run.caller.answer(&format!("bin2hex(serialize(Gateway::getSession('{id}')))")).await;
        views = (stored.as_str().unwrap_or_default().to_owned(), whose.ask("dump").await);
        views.0 == views.1
    })
    .await;
    let handlers = text(&views.1);
    run.note(format!("{what}, in a handler"), handlers);
    run.note(format!("{what}, in GatewayClient"), text(&views.0));
    let others = other.ask(&format!("recall {id}")).await;
    run.note(format!("{what}, in another client's handler"), text(&others));
}

/// Sessions with more than data in them: written, and then merged with each of these.
const WITH_OBJECTS: &[&str] = &[
    "['n' => 2]",
    r#"['name' => 'x', 'user' => json_decode('{"id":7,"in":{"a":[1]},"7":1}')]"#,
    "['user' => ['a' => 'flat']]",
    "(function () { $a = ['r' => 1, 'list' => [1]]; $a['s'] = &$a['r']; $a['same'] = &$a['list']; $a['p'] = $a['q'] = new stdClass; return $a; })()",
    "['same' => [5 => 'only here']]",
    "['r' => 'replaced', 'q' => null]",
    "(function () { $a = ['itself' => ['x' => 1]]; $a['itself']['again'] = &$a['itself']; return $a; })()",
    "['at' => new DateTime('2000-01-01 UTC'), 'list' => new ArrayObject([1, 'a' => 2])]",
    "['deep' => array_reduce(range(1, 1000), fn ($inner) => [$inner], [])]",
    "['deep' => [[['wide' => 1]]]]",
    "['f' => [117.63331139400017, 1e22, -0.0, INF, NAN, 1e-5]]",
];

/// Objects and references of PHP pass through the gateways. A handler of ours does not read them, as documented.
async fn objects(run: &mut Run) {
    let mut ann = run.client("Ann", 0).await;
    let id = ann.id.clone();
    let stored = format!("serialize(Gateway::getSession('{id}'))");
    let object = "['o' => (object) ['x' => 1], 'n' => 1]";
    told(run, "GatewayClient writes an object", &format!("Gateway::setSession('{id}', {object})")).await;
    run.note_call("a session with an object, in GatewayClient", &stored).await;
    ann.say("count").await;
    let heard = ann.heard().await;
    run.note("a handler that uses a session with an object", heard);
    told(run, "GatewayClient writes an object again", &format!("Gateway::setSession('{id}', {object})"))
        .await;
    for update in WITH_OBJECTS {
        told(
            run,
            &format!("GatewayClient merges {update}"),
            &format!("Gateway::updateSession('{id}', {update})"),
        )
        .await;
        run.note_call(format!("the session with {update}"), &stored).await;
    }
    ann.leave().await;
}

/// Bytes in hex, in letters where there are such.
fn text(hex: &str) -> String {
    let byte = |at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(byte).collect();
    match bytes {
        Some(bytes) => bytes.escape_ascii().to_string(),
        None => hex.to_owned(),
    }
}
