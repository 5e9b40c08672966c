//! [`StreamSink`]: standard output, a pipe, a device: what can be written to and not taken back.

use super::sink::{Line, Written};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

/// A stream of lines. Where it broke off within a line, it goes on there: nobody else writes in between.
#[derive(Debug)]
pub(super) struct StreamSink {
    out: File,
    /// Bytes of the next line that went already.
    begun: usize,
}

impl StreamSink {
    /// Standard output, past the line buffer of the standard library.
    pub(super) fn stdout() -> io::Result<StreamSink> {
        Ok(StreamSink::new(File::from(io::stdout().as_fd().try_clone_to_owned()?)))
    }

    /// Anything open for writing.
    pub(super) fn new(out: File) -> StreamSink {
        StreamSink { out, begun: 0 }
    }

    /// Writes as far as it will go.
    pub(super) fn write(&mut self, text: &[u8], lines: &[Line]) -> Written {
        let (went, error) = write_some(&mut self.out, &text[self.begun..]);
        let went = self.begun + went;
        let done = lines.partition_point(|line| line.end <= went);
        self.begun = went - done.checked_sub(1).map_or(0, |last| lines[last].end);
        Written { lines: done, refused: 0, error }
    }
}

/// Writes until all went or an error came; how much went, and the error.
pub(super) fn write_some(out: &mut impl Write, text: &[u8]) -> (usize, Option<io::Error>) {
    let mut went = 0;
    while went < text.len() {
        match out.write(&text[went..]) {
            Ok(0) => return (went, Some(io::ErrorKind::WriteZero.into())),
            Ok(n) => went += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (went, Some(error)),
        }
    }
    (went, None)
}

#[cfg(test)]
mod tests {
    use super::super::sink::tests_support::lines_of;
    use super::*;
    use std::io::Read;

    #[test]
    fn a_broken_off_line_is_gone_on_with() {
        let (mut reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let mut sink = StreamSink::new(File::from(std::os::fd::OwnedFd::from(writer)));
        // more than a pipe holds, in lines that do not end where it is full
        let text: String = (0..3_000).map(|i| format!("line {i} {}\n", "x".repeat(50))).collect();
        let lines = lines_of(&text);
        let (mut at, mut done, mut got) = (0, 0, Vec::new());
        let mut errors = 0;
        while done < lines.len() {
            let rest: Vec<Line> = lines[done..].iter().map(|line| Line { end: line.end - at, ..*line }).collect();
            let written = sink.write(&text.as_bytes()[at..], &rest);
            done += written.lines;
            at = lines[..done].last().map_or(0, |line| line.end);
            errors += usize::from(written.error.is_some());
            let mut block = [0; 16 * 1024];
            let n = reader.read(&mut block).unwrap();
            got.extend_from_slice(&block[..n]);
        }
        drop(sink);
        reader.read_to_end(&mut got).unwrap();
        assert!(errors > 0, "the pipe was never full");
        assert_eq!(String::from_utf8(got).unwrap(), text);
    }

    #[test]
    fn a_full_device_takes_nothing_and_says_so() {
        let mut sink = StreamSink::new(File::options().write(true).open("/dev/full").unwrap());
        let text = "one\ntwo\n";
        let written = sink.write(text.as_bytes(), &lines_of(text));
        assert_eq!(written.lines, 0);
        assert_eq!(written.error.unwrap().kind(), io::ErrorKind::StorageFull);
    }
}
