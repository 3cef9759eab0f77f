//! The output of a member, line by line as it comes.

use tokio::io::{AsyncBufRead, AsyncBufReadExt};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Line;
use super::log::LogStream;

/// Follows one stream of a member: stamps each line, passes it on, has it logged.
pub(super) fn follow(
    mut source: impl AsyncBufRead + Unpin + Send + 'static,
    log: LogStream,
) -> (UnboundedReceiver<Line>, JoinHandle<()>) {
    let (sender, lines) = unbounded_channel();
    let follower = tokio::spawn(async move {
        let mut bytes = Vec::new();
        while matches!(source.read_until(b'\n', &mut bytes).await, Ok(1..)) {
            // Before anything else: the latency ends when the line is here.
            let at = Instant::now();
            let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            bytes.clear();
            // The listener may have gone; the log is kept all the same.
            let _ = sender.send(Line { at, text: text.clone() });
            log.write(text);
        }
    });
    (lines, follower)
}
