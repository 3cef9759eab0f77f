//! `delivery.byte-exact`.

use anyhow::Result;
use async_trait::async_trait;
use secrecy::SecretString;

use super::{About, Check, Question, Spread};
use crate::observations::Values;
use crate::verdict::Judgement;
use crate::way::Way;

/// What is written is what arrives, to the byte.
pub(super) struct ByteExact;

const ABOUT: About = About {
    id: "delivery.byte-exact",
    sentence: "Values arrive byte for byte: newlines, quotes, `$`, `=`, spaces at the ends, non-ASCII, 32 KiB",
    answers: &[Question::Platform],
    spread: Spread::Every,
    needs: &[],
};

/// As large as a secret is likely to be: a certificate chain, a key set.
const LARGE: usize = 32 * 1024;

/// What could be lost on the way, by the name under which it travels; each is preceded by the cell's marker.
const NASTY: [(&str, &str); 12] = [
    ("EXACT_NEWLINE_INSIDE", "one\ntwo\n\nthree"),
    ("EXACT_NEWLINE_AT_END", "one\n"),
    ("EXACT_CARRIAGE_RETURN", "one\r\ntwo\rthree"),
    ("EXACT_QUOTES", "'single' \"double\" `back`"),
    ("EXACT_DOLLAR", "$HOME ${HOME} ${HOME:-x} $(id) $$"),
    ("EXACT_EQUALS", "=a=b=="),
    ("EXACT_HASH", "a #b # c"),
    ("EXACT_BACKSLASH", "\\n \\\\ \\' \\\" \\"),
    ("EXACT_SPACES_AT_END", "in between \t  "),
    ("EXACT_TEMPLATE", "{{ with }} {% if %} <no value> %s"),
    ("EXACT_NON_ASCII", "héllo wörld 日本語 🔑 \u{feff}\u{200b}"),
    ("EXACT_JSON", "{\"a\": [1, 2.0, null, \"x\"]}"),
];

#[async_trait(?Send)]
impl Check for ByteExact {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    async fn drive(&self, way: &mut Way) -> Result<Judgement> {
        let values = values(way.marker());
        way.provision(&values).await?;
        let names: Vec<String> = values.keys().cloned().collect();
        let app = way.deploy(&names).await?;
        let arrived = way.observe(app, &values).await?.is_some();
        let shown = way.deployment(app).observations.seen().last().map(|recorded| recorded.observation.clone());
        let missed = names.iter().filter(|name| {
            let shown = shown.as_ref().and_then(|observation| observation.values.get(*name)?.as_ref());
            shown.is_none_or(|seen| seen.digest != way.digest(&values[*name]))
        });
        let missed: Vec<&str> = missed.map(String::as_str).collect();
        Ok(judge(names.len(), arrived, &missed))
    }
}

fn values(marker: &str) -> Values {
    let mut values: Values =
        NASTY.iter().map(|(name, tail)| ((*name).to_owned(), format!("{marker}{tail}").into())).collect();
    // Spaces at the front have to come before the marker.
    values.insert("EXACT_SPACES_AT_START".into(), format!(" \t {marker}").into());
    // Counting up to 32 KiB: no piece of it is like another, so none can be lost or moved unseen.
    let large: String = (0..).map(|number| format!("{number:07} ")).take(LARGE / 8).collect();
    values.insert("EXACT_32_KIB".into(), format!("{marker}{}", &large[marker.len()..]).into());
    values.insert("EXACT_EMPTY".into(), SecretString::from(""));
    values
}

fn judge(sent: usize, arrived: bool, missed: &[&str]) -> Judgement {
    if arrived && missed.is_empty() {
        return Judgement::pass(format!("all {sent} values arrived byte for byte"));
    }
    if missed.is_empty() {
        return Judgement::fail("the values never arrived together");
    }
    Judgement::fail(format!("not byte for byte: {}", missed.join(", ")))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use secrecy::ExposeSecret;

    use super::*;
    use crate::verdict::Verdict;

    #[rstest]
    #[case(true, &[], Verdict::Pass)]
    #[case(false, &[], Verdict::Fail)]
    #[case(false, &["EXACT_QUOTES"], Verdict::Fail)]
    #[case(true, &["EXACT_QUOTES"], Verdict::Fail)]
    fn one_changed_value_fails(#[case] arrived: bool, #[case] missed: &[&str], #[case] verdict: Verdict) {
        assert_eq!(judge(14, arrived, missed).verdict, verdict);
    }

    #[test]
    fn the_values_hold_what_the_sentence_promises() {
        let values = values("canary");
        let any = |wanted: &dyn Fn(&str) -> bool| values.values().any(|value| wanted(value.expose_secret()));
        assert!(any(&|v| v.len() == LARGE));
        assert!(any(&|v| v.ends_with('\n')));
        assert!(any(&|v| v.starts_with(' ')));
        assert!(any(&|v| v.ends_with(' ')));
        assert!(any(&|v| !v.is_ascii()));
        assert!(any(&|v| v.contains("${")));
    }
}
