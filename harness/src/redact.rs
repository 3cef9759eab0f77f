//! The one redacting sink: logs, evidence and reports are written through it, so that no call site has to remember.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};

use crate::files::below;

/// What stands where a secret stood.
pub const MARK: &str = "[redacted]";

/// Shorter pieces of a value would match ordinary text.
const SHORTEST_PIECE: usize = 8;

/// Longer pieces would miss a value that was cut short.
const LONGEST_PIECE: usize = 256;

/// What RFC 3986 calls unreserved stays as it is.
const UNRESERVED_KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Knows the secrets of a run and takes them, in every form in which they could travel, out of any text.
#[derive(Clone, Default)]
pub struct Redactor {
    known: Arc<RwLock<Known>>,
}

#[derive(Default)]
struct Known {
    forms: BTreeSet<String>,
    matcher: OnceLock<AhoCorasick>,
}

/// Longest first: where one form holds another, the whole is taken out.
fn matcher<'a>(forms: impl IntoIterator<Item = &'a String>) -> AhoCorasick {
    let built = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(forms);
    // It fails only past 2^31 states; short of that many secrets there is no run to protect.
    built.expect("a few kilobytes of patterns fit")
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").finish_non_exhaustive()
    }
}

impl Redactor {
    /// Learns a secret: from now on it is redacted raw, line by line, JSON-escaped, Base64, hexadecimal and percent-encoded.
    pub fn learn(&self, secret: &SecretString) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.forms.extend(forms(secret.expose_secret()));
        known.matcher = OnceLock::new();
    }

    /// The text without any secret that this redactor knows.
    pub fn clean(&self, text: &str) -> String {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let matcher = known.matcher.get_or_init(|| matcher(&known.forms));
        matcher.replace_all(text, &vec![MARK; known.forms.len()])
    }

    /// A writer that passes on only clean text, a line at a time, so that no secret slips through between two writes.
    pub fn writer<W: Write>(&self, inner: W) -> RedactingWriter<W> {
        RedactingWriter { redactor: self.clone(), pending: Vec::new(), inner }
    }
}

/// Finds any form of `secret` in `haystack`: a leak. The forms are those that the redactor takes out.
pub fn leaks(secret: &str, haystack: &[u8]) -> bool {
    matcher(&forms(secret)).is_match(haystack)
}

/// The files below a folder that hold any form of `secret`, but for those that have to.
pub fn leaking_files(secret: &str, folder: &Path, by_design: &[PathBuf]) -> Vec<String> {
    let files = below(folder).into_iter().filter(|file| !by_design.contains(file));
    let holding = files.filter(|file| fs::read(file).is_ok_and(|bytes| leaks(secret, &bytes)));
    holding.map(|file| file.display().to_string()).collect()
}

/// The forms in which a value could travel.
fn forms(value: &str) -> Vec<String> {
    if value.is_empty() {
        return Vec::new();
    }
    let percent = utf8_percent_encode(value, UNRESERVED_KEPT).to_string();
    let mut forms = vec![value.to_owned(), STANDARD_NO_PAD.encode(value), hex::encode(value), percent];
    // What a longer value begins with: the last group of three bytes may go on.
    let whole = &value.as_bytes()[..value.len() / 3 * 3];
    if whole.len() >= SHORTEST_PIECE {
        forms.push(STANDARD_NO_PAD.encode(whole));
    }
    if let Ok(json) = serde_json::to_string(value) {
        forms.push(json[1..json.len() - 1].to_owned());
    }
    // Logs are read line by line: each line of a value must be known by itself.
    forms.extend(value.lines().filter(|line| line.len() >= SHORTEST_PIECE).map(str::to_owned));
    forms.iter().flat_map(|form| pieces(form)).map(str::to_owned).collect()
}

/// A log may cut a long value short: its pieces are known, not only the whole.
fn pieces(form: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = form;
    while rest.len() > LONGEST_PIECE {
        let (piece, more) = rest.split_at(rest.floor_char_boundary(LONGEST_PIECE));
        pieces.push(piece);
        rest = more;
    }
    // A tail that is too short to tell from ordinary text goes with the piece before it.
    if rest.len() >= SHORTEST_PIECE || pieces.is_empty() {
        pieces.push(rest);
    }
    pieces
}

/// See [`Redactor::writer`].
pub struct RedactingWriter<W: Write> {
    redactor: Redactor,
    pending: Vec<u8>,
    inner: W,
}

impl<W: Write> RedactingWriter<W> {
    fn pass_on(&mut self, upto: usize) -> io::Result<()> {
        let lines: Vec<u8> = self.pending.drain(..upto).collect();
        self.inner.write_all(self.redactor.clean(&String::from_utf8_lossy(&lines)).as_bytes())
    }
}

impl<W: Write> Write for RedactingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        if let Some(end) = self.pending.iter().rposition(|byte| *byte == b'\n') {
            self.pass_on(end + 1)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass_on(self.pending.len())?;
        self.inner.flush()
    }
}

impl<W: Write> Drop for RedactingWriter<W> {
    fn drop(&mut self) {
        // A destructor has nobody to tell; whoever needs to know flushes.
        let _ = self.flush();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn knowing(secret: &str) -> Redactor {
        let redactor = Redactor::default();
        redactor.learn(&secret.into());
        redactor
    }

    #[rstest]
    #[case::raw("token is s3cr3t+value=\"x\" here", "token is [redacted] here")]
    #[case::json(r#"{"v":"s3cr3t+value=\"x\""}"#, r#"{"v":"[redacted]"}"#)]
    #[case::base64("czNjcjN0K3ZhbHVlPSJ4Ig==", "[redacted]==")]
    #[case::hex("7333637233742b76616c75653d227822", "[redacted]")]
    #[case::percent("?v=s3cr3t%2Bvalue%3D%22x%22&w=1", "?v=[redacted]&w=1")]
    #[case::innocent("nothing to see", "nothing to see")]
    fn every_form_is_taken_out(#[case] text: &str, #[case] clean: &str) {
        assert_eq!(knowing("s3cr3t+value=\"x\"").clean(text), clean);
    }

    #[test]
    fn a_value_is_known_by_its_beginning_in_every_form() {
        for length in 9..=17 {
            let marker = &"canary-0123456789"[..length];
            let value = format!("{marker}-and-more");
            for form in [value.clone(), STANDARD_NO_PAD.encode(&value), hex::encode(&value)] {
                assert!(leaks(marker, form.as_bytes()), "{marker} in {form}");
            }
        }
    }

    #[test]
    fn each_line_of_a_value_is_taken_out() {
        let redactor = knowing("first-line-of-it\nsecond-line-of-it\n");
        assert_eq!(redactor.clean("log: first-line-of-it"), "log: [redacted]");
        assert_eq!(redactor.clean("log: second-line-of-it"), "log: [redacted]");
    }

    proptest! {
        #[test]
        fn no_split_of_the_writes_lets_a_value_through(secret in "[a-zA-Z0-9+/=\"\\\\ ]{8,40}", cut in 0_usize..60) {
            let redactor = knowing(&secret);
            let text = format!("before {secret} after\n");
            let cut = cut.min(text.len());
            let mut out = Vec::new();
            let mut writer = redactor.writer(&mut out);
            writer.write_all(&text.as_bytes()[..cut])?;
            writer.write_all(&text.as_bytes()[cut..])?;
            drop(writer);
            prop_assert!(!leaks(&secret, &out));
        }
    }
}
