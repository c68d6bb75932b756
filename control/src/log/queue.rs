//! Lines on their way to whoever reads them: a bounded queue, and a thread that waits where the control thread must not.
//!
//! Standard error may be a pipe whose reader has stopped. Then lines pile up here, then they are lost, and their number is
//! said as soon as somebody reads again.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender, TrySendError};
use std::time::{Duration, Instant};

/// Lines that wait: some hundred KiB.
const LINES: usize = 4096;
/// How long the end of the process waits for lines to be read.
const GOODBYE: Duration = Duration::from_secs(1);
/// How often a full queue is tried again at the end.
const RETRY: Duration = Duration::from_millis(5);

enum Message {
    Line(Vec<u8>),
    /// Everything before this is written: say so.
    Mark(Sender<()>),
}

/// The entrance to the queue; its copies lead to the same one.
#[derive(Clone)]
pub(super) struct Queue {
    messages: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

impl Queue {
    /// A queue to this writer.
    pub(super) fn to(writer: impl Write + Send + 'static) -> io::Result<Self> {
        let (messages, taken) = mpsc::sync_channel(LINES);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lost);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || write(&taken, &counted, writer))?;
        Ok(Self { messages, lost })
    }

    /// Lines that found no room or no reader.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits until what is in the queue is written, but not for a reader who does not read.
    pub(super) fn finish(&self) {
        let (done, written) = mpsc::channel();
        let end = Instant::now() + GOODBYE;
        let mut mark = Message::Mark(done);
        while let Err(TrySendError::Full(back)) = self.messages.try_send(mark) {
            if Instant::now() >= end {
                return;
            }
            mark = back;
            std::thread::sleep(RETRY);
        }
        let _ = written.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}

/// A line is written in one piece, and never waits.
impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.messages.try_send(Message::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(taken: &Receiver<Message>, lost: &AtomicU64, mut writer: impl Write) {
    let mut said = 0;
    while let Ok(message) = taken.recv() {
        match message {
            Message::Line(line) => {
                if writer.write_all(&line).is_err() {
                    lost.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let lost = lost.load(Ordering::Relaxed);
                if lost > said {
                    let count = lost - said;
                    said = lost;
                    let _ =
                        writeln!(writer, "{count} lines before this one were lost: nobody read them in time");
                }
            }
            Message::Mark(done) => {
                let _ = writer.flush();
                let _ = done.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// A reader that reads nothing until it is let.
    struct Stuck {
        gate: Receiver<()>,
        open: bool,
        read: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !self.open {
                let _ = self.gate.recv();
                self.open = true;
            }
            self.read.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn r5_lines_that_nobody_reads_are_lost_counted_and_told() {
        let (open, gate) = mpsc::channel();
        let read = Arc::new(Mutex::new(Vec::new()));
        let mut queue = Queue::to(Stuck { gate, open: false, read: Arc::clone(&read) }).unwrap();
        // One is in the writer's hands, the queue is full, and 10 are too many. None of this waits.
        let all = LINES + 11;
        for number in 0..all {
            queue.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        let lost = queue.lost();
        assert!((10..=11).contains(&lost), "{lost}");
        open.send(()).unwrap();
        queue.finish();
        let text = String::from_utf8(read.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), all - lost as usize + 1);
        assert!(text.contains(&format!("{lost} lines before this one were lost")), "{text}");
    }
}
