//! The shape of a JSON document: members and types, without a single value.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// What a JSON value is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// Nothing at all: no body, or no element to look at.
    Nothing,
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// A number.
    Number,
    /// A string.
    Text,
    /// A string that is a moment of RFC 3339.
    Moment,
    /// A string that holds a JSON object.
    Document(Box<Self>),
    /// An array; the shape of all its elements together.
    List(Box<Self>),
    /// An object.
    Object(BTreeMap<String, Member>),
    /// Elements of an array that are not alike.
    Mixed,
}

/// A member of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Its shape.
    pub shape: Shape,
    /// Whether some of the objects that were merged lack it.
    pub optional: bool,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::Text => "a string",
            Self::Moment => "a moment",
            Self::Document(_) => "a JSON document",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
            Self::Mixed => "of several kinds",
        })
    }
}

impl Shape {
    /// The shape of a value.
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Bool,
            Value::Number(_) => Self::Number,
            Value::String(text) if text.parse::<Timestamp>().is_ok() => Self::Moment,
            Value::String(text) => match serde_json::from_str::<Value>(text) {
                Ok(document @ Value::Object(_)) => Self::Document(Box::new(Self::of(&document))),
                _ => Self::Text,
            },
            Value::Array(elements) => {
                Self::List(Box::new(elements.iter().map(Self::of).fold(Self::Nothing, Self::merged)))
            }
            Value::Object(members) => Self::Object(
                members
                    .iter()
                    .map(|(name, value)| (name.clone(), Member { shape: Self::of(value), optional: false }))
                    .collect(),
            ),
        }
    }

    /// The shape that fits both.
    fn merged(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, one) | (one, Self::Nothing) => one,
            (Self::List(one), Self::List(other)) => Self::List(Box::new(one.merged(*other))),
            (Self::Document(one), Self::Document(other)) => Self::Document(Box::new(one.merged(*other))),
            (Self::Object(mut one), Self::Object(other)) => {
                for (name, member) in &mut one {
                    member.optional |= !other.contains_key(name);
                }
                for (name, member) in other {
                    let known = one.remove(&name);
                    let member = match known {
                        Some(known) => Member {
                            shape: known.shape.merged(member.shape),
                            optional: known.optional || member.optional,
                        },
                        None => Member { optional: true, ..member },
                    };
                    one.insert(name, member);
                }
                Self::Object(one)
            }
            (one, other) if one == other => one,
            (Self::Moment, Self::Text) | (Self::Text, Self::Moment) => Self::Text,
            _ => Self::Mixed,
        }
    }

    /// What differs between what was expected and what was found, a line each; `place` is where.
    pub fn differences(expected: &Self, found: &Self, place: &str, lines: &mut Vec<String>) {
        match (expected, found) {
            // A list without elements leaves what comes in it open; where some were expected, nothing was compared.
            (Self::Nothing, _) if place.ends_with("[]") => {}
            (Self::Document(one), Self::Document(other)) => Self::differences(one, other, place, lines),
            (Self::List(one), Self::List(other)) => Self::differences(one, other, &format!("{place}[]"), lines),
            (Self::Object(one), Self::Object(other)) => {
                for (name, member) in one {
                    let place = format!("{place}.{name}");
                    match other.get(name) {
                        Some(found) => Self::differences(&member.shape, &found.shape, &place, lines),
                        None if member.optional => {}
                        None => lines.push(format!("{place}: missing, expected {}", member.shape)),
                    }
                }
                for (name, found) in other.iter().filter(|(name, found)| !one.contains_key(*name) && !found.optional) {
                    lines.push(format!("{place}.{name}: not expected, found {}", found.shape));
                }
            }
            (one, other) if one == other => {}
            (one, other) => lines.push(format!("{place}: expected {one}, found {other}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::alike(json!({ "a": 1, "b": ["x"] }), json!({ "a": 2, "b": ["y", "z"] }), &[])]
    #[case::missing(json!({ "a": 1 }), json!({}), &["body.a: missing, expected a number"])]
    #[case::added(json!({}), json!({ "a": 1 }), &["body.a: not expected, found a number"])]
    #[case::another_type(json!({ "a": 1 }), json!({ "a": "1" }), &["body.a: expected a number, found a string"])]
    #[case::null(json!({ "a": "x" }), json!({ "a": null }), &["body.a: expected a string, found null"])]
    #[case::no_moment(json!({ "a": "2026-11-23T19:00:00Z" }), json!({ "a": "today" }), &["body.a: expected a moment, found a string"])]
    #[case::deep(json!({ "a": [{ "b": 1 }] }), json!({ "a": [{ "b": true }] }), &["body.a[].b: expected a number, found a boolean"])]
    #[case::empty_list(json!({ "a": [{ "b": 1 }] }), json!({ "a": [] }), &["body.a[]: expected an object, found nothing"])]
    #[case::was_empty(json!({ "a": [] }), json!({ "a": [{ "b": 1 }] }), &[])]
    #[case::document(json!({ "a": "{\"b\":1}" }), json!({ "a": "{\"b\":\"x\"}" }), &["body.a.b: expected a number, found a string"])]
    #[case::member_of_some(json!([{ "a": 1 }, {}]), json!([{}]), &[])]
    #[case::body_gone(json!({ "a": 1 }), json!(null), &["body: expected an object, found null"])]
    fn a_difference_is_told_by_its_place(#[case] one: Value, #[case] other: Value, #[case] expected: &[&str]) {
        let mut lines = Vec::new();
        Shape::differences(&Shape::of(&one), &Shape::of(&other), "body", &mut lines);
        assert_eq!(lines, expected);
    }
}
