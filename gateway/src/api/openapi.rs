//! Pure: holds `openapi.json` to the routes and errors that it describes.

use super::{error::ApiError, routes};
use crate::{
    admission::{Reason, Refused},
    webhooks::KINDS,
};
use counter::{Shortage, Token};
use presence::{Hook, Stamp};
use protocol::{
    code::ErrorCode,
    counting::{CounterType, Does},
    name::Name,
    namespace::UnknownNamespace,
};
use serde_json::Value;
use std::collections::BTreeSet;

const METHODS: [&str; 7] = ["get", "put", "post", "delete", "patch", "head", "options"];

fn document() -> Value {
    serde_json::from_str(include_str!("../../openapi.json")).unwrap()
}

/// One of each variant; the match makes sure that a new one is added.
fn every_error() -> Vec<ApiError> {
    let own = [
        ApiError::BadRequest(String::new()),
        ApiError::BadName(Name::parse("").unwrap_err()),
        ApiError::UnknownNamespace(UnknownNamespace(String::new())),
        ApiError::Unauthorized(""),
        ApiError::Forbidden(""),
        ApiError::NotFound(""),
        ApiError::MethodNotAllowed,
        ApiError::NotAcceptable(""),
        ApiError::UnsupportedMediaType,
        ApiError::Late,
        ApiError::TooLarge(String::new()),
        ApiError::Conflict(""),
        ApiError::WrongType(CounterType::Unique.check(Does::Add).unwrap_err()),
        ApiError::Insufficient(Shortage { here: 0, elsewhere: 0 }),
        ApiError::BadTime { server_time_ms: 0 },
        ApiError::TokenInvalid(Token::parse("").unwrap_err()),
        ApiError::TokenRequired,
        ApiError::TokenExpired { server_time_ms: 0 },
        ApiError::PreconditionFailed(""),
        ApiError::Elsewhere(""),
        ApiError::Unavailable(""),
        ApiError::Storage("".into()),
        ApiError::Refused(Refused { reason: Reason::Requests, after_s: 1 }),
    ];
    let kind = |error: &ApiError| match error {
        ApiError::Code(_) => 0,
        ApiError::BadRequest(_) => 1,
        ApiError::BadName(_) => 2,
        ApiError::UnknownNamespace(_) => 3,
        ApiError::Unauthorized(_) => 4,
        ApiError::Forbidden(_) => 5,
        ApiError::NotFound(_) => 6,
        ApiError::MethodNotAllowed => 7,
        ApiError::NotAcceptable(_) => 8,
        ApiError::UnsupportedMediaType => 9,
        ApiError::Late => 10,
        ApiError::TooLarge(_) => 11,
        ApiError::Conflict(_) => 12,
        ApiError::WrongType(_) => 13,
        ApiError::Insufficient(_) => 14,
        ApiError::BadTime { .. } => 15,
        ApiError::TokenInvalid(_) => 16,
        ApiError::TokenRequired => 17,
        ApiError::TokenExpired { .. } => 18,
        ApiError::PreconditionFailed(_) => 19,
        ApiError::Elsewhere(_) => 20,
        ApiError::Unavailable(_) => 21,
        ApiError::Storage(_) => 22,
        ApiError::Refused(_) => 23,
    };
    assert!(own.iter().map(kind).eq(1..=own.len()), "one of each variant, in order");
    own.into_iter().chain(ErrorCode::ALL.map(ApiError::Code)).collect()
}

fn each(value: &Value, look: &mut impl FnMut(&Value)) {
    look(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| each(item, look)),
        Value::Object(fields) => fields.values().for_each(|field| each(field, look)),
        _ => {}
    }
}

#[test]
fn the_document_describes_exactly_the_routes_there_are() {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let is_method = |(name, _): &(&String, &Value)| METHODS.contains(&name.as_str());
    let methods =
        |item: &Value| item.as_object().unwrap().iter().filter(is_method).map(|(name, _)| name.to_uppercase()).collect::<Vec<_>>();
    let described: Vec<_> =
        paths.iter().flat_map(|(path, item)| methods(item).into_iter().map(move |method| (path.clone(), method))).collect();
    let served: Vec<_> = routes().into_iter().map(|route| (route.path.to_owned(), route.method.to_string())).collect();
    assert_eq!(served.len(), served.iter().collect::<BTreeSet<_>>().len(), "a route is there twice");
    assert_eq!(BTreeSet::from_iter(described), BTreeSet::from_iter(served));
}

#[test]
fn the_document_lists_every_error_code_and_no_other() {
    let document = document();
    let listed =
        document["components"]["schemas"]["Error"]["properties"]["error"]["properties"]["code"]["enum"].as_array().unwrap().clone();
    let listed: BTreeSet<String> = listed.iter().map(|code| code.as_str().unwrap().to_owned()).collect();
    assert_eq!(listed, every_error().iter().map(|error| error.parts().1).collect());
}

#[test]
fn every_reference_of_the_document_leads_somewhere_and_every_component_is_used() {
    let document = document();
    let mut used = BTreeSet::new();
    each(&document, &mut |value| {
        if let Some(reference) = value.get("$ref") {
            used.insert(reference.as_str().unwrap().to_owned());
        }
    });
    for reference in &used {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
    for kind in ["schemas", "parameters"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            assert!(used.contains(&format!("#/components/{kind}/{name}")), "{kind}/{name} is not used");
        }
    }
}

#[test]
fn the_document_describes_exactly_what_webhooks_tell() {
    let document = document();
    let event = &document["components"]["schemas"]["WebhookEvent"];
    let told: Vec<Value> = KINDS
        .iter()
        .map(|(_, kind)| Hook { id: "1".into(), kind: *kind, name: "a".into(), stamp: Stamp::default(), time_ms: 1 })
        .map(|hook| serde_json::to_value(hook).unwrap())
        .collect();
    let types: Vec<&Value> = told.iter().map(|event| &event["type"]).collect();
    assert_eq!(event["properties"]["type"]["enum"].as_array().unwrap().iter().collect::<Vec<_>>(), types);
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let all: BTreeSet<String> = told.iter().flat_map(keys).collect();
    assert_eq!(keys(&event["properties"]), all);
    let always: BTreeSet<String> = all.into_iter().filter(|key| told.iter().all(|event| event.get(key).is_some())).collect();
    assert_eq!(event["required"].as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()).collect::<BTreeSet<_>>(), always);
    let example = &document["webhooks"]["events"]["post"]["requestBody"]["content"]["application/json"]["example"]["events"];
    assert!(example.as_array().unwrap().iter().all(|event| told.iter().any(|told| keys(told) == keys(event))));
}

#[test]
fn every_variable_part_of_a_path_is_a_parameter() {
    let document = document();
    for (path, item) in document["paths"].as_object().unwrap() {
        let named = path.split(['{', '}']).skip(1).step_by(2).map(|name| format!("#/components/parameters/{name}")).collect::<Vec<_>>();
        let given = item["parameters"].as_array().cloned().unwrap_or_default();
        assert_eq!(given.iter().map(|parameter| parameter["$ref"].as_str().unwrap()).collect::<Vec<_>>(), named, "{path}");
    }
}
