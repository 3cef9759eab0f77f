//! The log of a cell's members: one file a member, redacted as it is written, by a thread of its own. Searching a line
//! for every secret takes time that must not stand between the two ends of a latency.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context, Result};

use crate::redact::Redactor;

enum Message {
    Line { member: String, stream: &'static str, text: String },
    Leaks(Sender<Vec<String>>),
}

/// Keeps the logs of the members in a folder.
pub(super) struct Log(Sender<Message>);

/// One stream of one member.
pub(super) struct LogStream {
    member: String,
    stream: &'static str,
    keeper: Sender<Message>,
}

impl Log {
    /// Logs to files in `folder`, without anything that `redactor` knows at the time.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub(super) fn new(folder: &Path, redactor: &Redactor) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("failed to make the log folder {}", folder.display()))?;
        let (sender, messages) = channel();
        let keeper = Keeper { folder: folder.to_owned(), redactor: redactor.clone(), ..Keeper::default() };
        // It ends with the last of its senders.
        std::thread::spawn(move || keeper.run(&messages));
        Ok(Self(sender))
    }

    /// The stream of a member.
    pub(super) fn stream(&self, member: &str, stream: &'static str) -> LogStream {
        LogStream { member: member.to_owned(), stream, keeper: self.0.clone() }
    }

    /// The places in what was logged so far that held a secret: `app.sidecar stderr line 3`. Everything logged before
    /// is in its file when this returns.
    pub(super) fn leaks(&self) -> Vec<String> {
        let (sender, leaks) = channel();
        let asked = self.0.send(Message::Leaks(sender));
        // A keeper that is gone would hide leaks: that must not read as none.
        let broken = || vec!["the log, whose keeper broke".to_owned()];
        asked.map_or_else(|_| broken(), |()| leaks.recv().unwrap_or_else(|_| broken()))
    }
}

impl LogStream {
    /// Logs a line.
    pub(super) fn write(&self, text: String) {
        // A keeper that is gone is told by `leaks`.
        let _ = self.keeper.send(Message::Line { member: self.member.clone(), stream: self.stream, text });
    }
}

#[derive(Default)]
struct Keeper {
    folder: PathBuf,
    redactor: Redactor,
    files: BTreeMap<String, Option<File>>,
    lines: BTreeMap<(String, &'static str), u64>,
    leaks: Vec<String>,
}

impl Keeper {
    fn run(mut self, messages: &Receiver<Message>) {
        for message in messages {
            match message {
                Message::Line { member, stream, text } => self.line(member, stream, &text),
                Message::Leaks(sender) => {
                    // Whoever asked may have stopped waiting.
                    let _ = sender.send(self.leaks.clone());
                }
            }
        }
    }

    fn line(&mut self, member: String, stream: &'static str, text: &str) {
        let number = self.lines.entry((member.clone(), stream)).or_default();
        *number += 1;
        let clean = self.redactor.clean(text);
        if clean != text {
            self.leaks.push(format!("{member} {stream} line {number}"));
        }
        let path = self.folder.join(format!("{member}.log"));
        let file = self.files.entry(member).or_insert_with(|| {
            let opened = File::options().create(true).append(true).open(&path);
            opened.inspect_err(|error| tracing::warn!(file = %path.display(), %error, "failed to open a log")).ok()
        });
        if let Some(Err(error)) = file.as_mut().map(|file| writeln!(file, "{clean}")) {
            tracing::warn!(file = %path.display(), %error, "failed to write to a log");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_clean_and_a_leak_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let redactor = Redactor::default();
        redactor.learn(&"s3cr3t-value".into());
        let log = Log::new(folder.path(), &redactor).unwrap();
        log.stream("probe", "stdout").write("started".into());
        log.stream("probe", "stderr").write("it is s3cr3t-value".into());
        assert_eq!(log.leaks(), ["probe stderr line 1"]);
        let kept = fs::read_to_string(folder.path().join("probe.log")).unwrap();
        assert_eq!(kept, "started\nit is [redacted]\n");
    }
}
