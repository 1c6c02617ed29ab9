//! Reads a JSON object into a handler's parameters; an error names the field that is wrong.
//!
//! `router` calls it before the handler.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Fault, Problem};

/// Reads the parameters.
pub(crate) fn read<P: DeserializeOwned>(request: &Map<String, Value>) -> Result<P, Fault> {
    serde_path_to_error::deserialize(request).map_err(|error| {
        let path = match error.path().iter().next() {
            Some(_) => error.path().to_string(),
            None => String::new(),
        };
        fault(path, error.inner().to_string())
    })
}

/// Makes a fault of serde's text, which alone has the name of a missing or unknown field: the path
/// ends at the object around it.
fn fault(path: String, text: String) -> Fault {
    let named = |start| text.strip_prefix(start)?.split('`').next();
    let (name, problem) = match (named("missing field `"), named("unknown field `")) {
        (Some(name), _) => (name, Problem::Missing),
        (_, Some(name)) => (name, Problem::Unknown),
        _ => return Fault::Parameter { field: path, problem: Problem::Wrong(text) },
    };
    // An unknown field is a part of its path, a missing one is not.
    let field = match path.as_str() {
        "" => name.to_owned(),
        path if path == name || path.ends_with(&format!(".{name}")) => path.to_owned(),
        path => format!("{path}.{name}"),
    };
    Fault::Parameter { field, problem }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::NoParameters;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Join {
        code: String,
        seats: Option<Vec<u8>>,
        user: Option<User>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct User {
        name: String,
    }

    fn object(json: Value) -> Map<String, Value> {
        json.as_object().unwrap().clone()
    }

    fn wrong(json: Value) -> (String, String) {
        match read::<Join>(&object(json)) {
            Err(Fault::Parameter { field, problem }) => (field, problem.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_error_names_the_field_and_its_fault() {
        for (json, field, problem) in [
            (json!({}), "code", "is missing"),
            (json!({"code": 7}), "code", "invalid type: integer `7`, expected a string"),
            (json!({"code": null}), "code", "invalid type: null, expected a string"),
            (
                json!({"code": "a", "seats": [1, 256]}),
                "seats[1]",
                "invalid value: integer `256`, expected u8",
            ),
            (json!({"code": "a", "user": {}}), "user.name", "is missing"),
            (json!({"code": "a", "row": 1}), "row", "is not known"),
        ] {
            assert_eq!(wrong(json), (field.to_owned(), problem.to_owned()));
        }
    }

    #[test]
    fn matching_parameters_are_read() {
        let join = read::<Join>(&object(json!({"code": "a"}))).unwrap();
        assert_eq!(join, Join { code: "a".into(), seats: None, user: None });
        read::<NoParameters>(&object(json!({"any": ["thing"]}))).unwrap();
        read::<Value>(&object(json!({"any": ["thing"]}))).unwrap();
        read::<HashMap<String, i32>>(&object(json!({"a": 1}))).unwrap();
    }
}
