//! References to variables, as the Compose Specification has them ("Interpolation").

use super::Variables;

/// What is wrong with a reference, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) what: String,
    pub(super) remedy: String,
}

impl Problem {
    fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

/// One reference in a text.
#[derive(Debug, PartialEq, Eq)]
struct Reference<'a> {
    name: &'a str,
    /// Between name and word: `:-`, `-`, `:?`, `?`, `:+`, `+`, or nothing.
    operator: &'a str,
    word: &'a str,
}

const OPERATORS: [&str; 6] = [":-", ":?", ":+", "-", "?", "+"];

/// The text with its variables in place.
pub(super) fn interpolate(text: &str, variables: &Variables) -> Result<String, Problem> {
    let mut done = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        done += &rest[..at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            done.push('$');
            rest = after;
            continue;
        }
        let (reference, after) = next(rest)?;
        done += &value(&reference, variables)?;
        rest = after;
    }
    Ok(done + rest)
}

/// The variable that a text is nothing but a reference to.
pub fn reference(text: &str) -> Option<&str> {
    let (reference, rest) = next(text.strip_prefix('$')?).ok()?;
    rest.is_empty().then_some(reference.name)
}

/// Whether a text is a reference that must be set: `${NAME:?what it is}`.
pub(super) fn is_required(text: &str) -> bool {
    text.strip_prefix('$')
        .and_then(|rest| next(rest).ok())
        .is_some_and(|(reference, rest)| rest.is_empty() && reference.operator == ":?" && !reference.word.is_empty())
}

/// What of a text is written down in it: all but references, and the words that stand in for unset variables.
pub(super) fn literals(text: &str) -> Vec<String> {
    let mut literals = vec![String::new()];
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let whole = &rest[at..];
        literals[0] += &rest[..at];
        rest = &rest[at + 1..];
        match next(rest) {
            Ok((reference, after)) => {
                if matches!(reference.operator, ":-" | "-" | ":+" | "+") {
                    literals.push(reference.word.to_owned());
                }
                rest = after;
            }
            Err(_) => {
                let escaped = whole.starts_with("$$");
                literals[0].push('$');
                rest = if escaped { &rest[1..] } else { rest };
            }
        }
    }
    literals[0] += rest;
    literals.retain(|literal| !literal.is_empty());
    literals
}

/// Every variable that a text refers to.
pub(super) fn names(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
        } else if let Ok((reference, after)) = next(rest) {
            names.push(reference.name);
            rest = after;
        }
    }
    names
}

/// The reference after a `$`, and what follows it.
fn next(text: &str) -> Result<(Reference<'_>, &str), Problem> {
    let unclear = || Problem::new("a `$` begins no reference", "write ${NAME}, or $$ for a `$`");
    let Some(braced) = text.strip_prefix('{') else {
        let (name, after) = name(text);
        return if name.is_empty() { Err(unclear()) } else { Ok((Reference { name, operator: "", word: "" }, after)) };
    };
    let end = braced.find('}').ok_or_else(|| Problem::new("a `${` has no end", "close it with `}`"))?;
    let (inside, after) = (&braced[..end], &braced[end + 1..]);
    let (name, tail) = name(inside);
    if name.is_empty() {
        return Err(unclear());
    }
    if tail.contains("${") {
        return Err(Problem::new(format!("${{{name}}} has a reference in its word"), "use a word without references"));
    }
    if tail.is_empty() {
        return Ok((Reference { name, operator: "", word: "" }, after));
    }
    let operator = OPERATORS.iter().find(|operator| tail.starts_with(**operator)).ok_or_else(|| {
        Problem::new(format!("${{{name}}} has an unknown operator"), format!("use one of {}", OPERATORS.join(" ")))
    })?;
    Ok((Reference { name, operator, word: &tail[operator.len()..] }, after))
}

fn name(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    let end = if text.starts_with(|c: char| c.is_ascii_digit()) { 0 } else { end };
    text.split_at(end)
}

fn value(reference: &Reference<'_>, variables: &Variables) -> Result<String, Problem> {
    let Reference { name, operator, word } = *reference;
    // With a colon a variable that is set, but empty, counts as unset.
    let set = variables.get(name).filter(|value| !operator.starts_with(':') || !value.is_empty());
    match (operator.trim_start_matches(':'), set) {
        ("+", Some(_)) => Ok(word.to_owned()),
        ("+", None) => Ok(String::new()),
        (_, Some(value)) => Ok(value.clone()),
        ("-", None) => Ok(word.to_owned()),
        // The specification puts an empty text in its place; a deployment with a hole in it is not what anybody meant.
        (_, None) => {
            let what = if word.is_empty() { String::new() } else { format!(": {word}") };
            Err(Problem::new(format!("the variable {name} is not set"), format!("set {name}{what}")))
        }
    }
}
