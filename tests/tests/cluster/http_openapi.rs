//! The OpenAPI description of the calls over HTTP: requests made from it are answered as it describes.

use gatewayworker::ClientId;
use gatewayworker::businessworker::{self as worker, HistoryConfig};
use gatewayworker_tests::{Cluster, HTTP_TOKEN, HttpAnswer, HttpRequest, WsClient};
use serde_json::{Map, Value, json};

/// A description, and the cluster that gave it.
struct Described {
    cluster: Cluster,
    document: Value,
}

async fn described() -> Described {
    let with_history = |config: &mut worker::Config| config.history = HistoryConfig::at("memory:");
    let cluster = Cluster::builder().gateways(2).http().worker(with_history).start().await;
    let document = HttpRequest::new(cluster.http(), "GET", "/openapi.json").send().await.body;
    Described { cluster, document }
}

impl Described {
    /// The paths that take a POST, with what is said of them.
    fn posts(&self) -> impl Iterator<Item = (&str, &Value)> {
        let paths = self.document["paths"].as_object().unwrap();
        paths.iter().filter_map(|(path, methods)| Some((path.as_str(), methods.get("post")?)))
    }

    fn post(&self, path: &str, body: &Value) -> HttpRequest {
        HttpRequest::post(self.cluster.http(), path, body).token(HTTP_TOKEN)
    }

    /// Asserts that an answer is one of those that are described.
    fn check(&self, operation: &Value, answer: &HttpAnswer) {
        let name = &operation["operationId"];
        let response = &operation["responses"][answer.status.to_string()];
        let response = match response["$ref"].as_str() {
            Some(reference) => self.document.pointer(reference.trim_start_matches('#')).unwrap(),
            None => response,
        };
        let schema = &response["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{name}: {} is not described", answer.status);
        check(&format!("{name}, {}", answer.status), schema, &answer.body);
        for header in response["headers"].as_object().into_iter().flat_map(Map::keys) {
            assert!(answer.header(header).is_some(), "{name}, {}: no {header}", answer.status);
        }
    }
}

/// Asserts that a value is what a schema says.
fn check(what: &str, schema: &Value, value: &Value) {
    let validator = jsonschema::draft202012::new(schema).unwrap();
    let errors: Vec<_> = validator.iter_errors(value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{what}: {value}: {errors:?}");
}

fn request_schema(operation: &Value) -> &Value {
    &operation["requestBody"]["content"]["application/json"]["schema"]
}

/// An object with the properties that `wanted` says, of those in an object's schema.
fn object(schema: &Value, id: ClientId, wanted: impl Fn(&str) -> bool) -> Value {
    let properties = schema["properties"].as_object().unwrap();
    let wanted = properties.iter().filter(|(name, _)| wanted(name));
    wanted.map(|(name, schema)| (name.clone(), value(schema, id))).collect::<Map<_, _>>().into()
}

/// A value that a schema allows.
fn value(schema: &Value, id: ClientId) -> Value {
    if let Some(choices) = schema["enum"].as_array() {
        return choices[0].clone();
    }
    if let Some(value) = schema.get("default").or_else(|| schema["examples"].get(0)) {
        return value.clone();
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        return value(choices.last().unwrap(), id);
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    match kind {
        None => json!({"any": "thing"}),
        Some("boolean") => json!(false),
        Some("string") if schema.get("pattern").is_some() => json!(id),
        Some("string") if schema["contentEncoding"] == "base64" => json!("AP8="),
        Some("string") => json!("a"),
        Some("array") => json!([value(&schema["items"], id)]),
        Some("object") if schema.get("properties").is_some() => object(schema, id, |_| true),
        Some("object") => json!({"any": ["thing"]}),
        Some(other) => panic!("no value is known for {other}"),
    }
}

/// The least that a request may have, and all that it may.
fn bodies(schema: &Value, id: ClientId) -> Vec<Value> {
    if schema["type"] == "array" {
        return vec![json!([]), value(schema, id)];
    }
    let required =
        |names: &Value, name: &str| names.as_array().is_some_and(|names| names.contains(&json!(name)));
    // A message in one form or in the other, not in both.
    let forms = match schema["oneOf"].as_array() {
        Some(forms) => forms.iter().map(|form| form["required"].clone()).collect(),
        None if schema["properties"].get("message_base64").is_some() => {
            vec![json!(["message"]), json!(["message_base64"])]
        }
        None => vec![json!([])],
    };
    let is_form = |name: &str| forms.len() > 1 && forms.iter().any(|form| required(form, name));
    let mut bodies = Vec::new();
    for form in &forms {
        bodies.push(object(schema, id, |name| required(&schema["required"], name) || required(form, name)));
        bodies.push(object(schema, id, |name| !is_form(name) || required(form, name)));
    }
    bodies
}

#[tokio::test]
async fn a_request_made_from_the_description_is_answered_as_described() {
    let t = described().await;
    let mut taken = 0;
    for (path, operation) in t.posts() {
        let schema = request_schema(operation);
        // Each on a client of its own, as some end it. A question comes behind what was
        // sent before: the client is not to get that.
        t.post("/v1/client_count", &json!({})).send().await.result();
        let (_client, id) = WsClient::greeted(t.cluster.gateways[taken % 2].listener).await;
        let known = json!([
            {"call": "bind_uid", "params": {"client_id": id, "uid": "a"}},
            {"call": "join_group", "params": {"client_id": id, "group": "a"}},
            {"call": "set_session", "params": {"client_id": id, "session": {"a": 1}}},
        ]);
        t.post("/v1/batch", &known).send().await.result();
        for body in bodies(schema, id) {
            check(path, schema, &body);
            let answer = t.post(path, &body).send().await;
            assert_eq!(answer.status, 200, "{path} {body}: {}", answer.body);
            t.check(operation, &answer);
        }
        taken += 1;
    }
    assert_eq!(taken, gatewayworker::client::calls::calls().len() + 1, "every call, and the batch");
}

#[tokio::test]
async fn a_request_against_the_description_is_refused_as_described() {
    let t = described().await;
    let (_client, id) = WsClient::greeted(t.cluster.listener()).await;
    for (path, operation) in t.posts() {
        let schema = request_schema(operation);
        let body = bodies(schema, id).pop().unwrap();
        let Value::Object(mut more) = body.clone() else { continue };
        more.insert("no_such_param".into(), json!(1));
        let more = more.into();
        assert!(!jsonschema::draft202012::is_valid(schema, &more), "{path}");
        let plain = HttpRequest::post(t.cluster.http(), path, &body);
        for (request, status) in [
            (t.post(path, &more), 400),
            (plain.clone(), 401),
            (plain.clone().header("origin", "https://evil.example"), 403),
            (t.post(path, &body).header("content-type", "text/plain"), 415),
            (t.post(path, &body).header("content-encoding", "gzip"), 415),
        ] {
            let answer = request.send().await;
            if status != 415 {
                assert_eq!(answer.status, status, "{path}");
            }
            t.check(operation, &answer);
        }
        for name in schema["required"].as_array().unwrap() {
            let mut less = body.clone();
            less.as_object_mut().unwrap().remove(name.as_str().unwrap());
            let answer = t.post(path, &less).send().await;
            assert_eq!(answer.status, 400, "{path} without {name}");
            t.check(operation, &answer);
        }
    }
}

#[tokio::test]
async fn paths_without_a_token_are_described() {
    let t = described().await;
    for path in ["/openapi.json", "/v1/health"] {
        let operation = &t.document["paths"][path]["get"];
        assert_eq!(operation["security"], json!([]));
        t.check(operation, &HttpRequest::new(t.cluster.http(), "GET", path).send().await);
    }
    assert_eq!(t.document["openapi"], "3.1.0");
    assert_eq!(t.document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
}
