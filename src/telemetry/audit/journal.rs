//! [`JournalSink`]: the journal, by its native protocol: a datagram of `NAME=value` lines per record.
//!
//! The whole JSON line is `MESSAGE`, so that nothing is said twice in two ways; beside it stand only the fields one
//! wants to select by: `journalctl -t countersign-audit COUNTERSIGN_OUTCOME=refuse`. A value that held a newline would
//! need the protocol's binary form; none of ours can, the line is JSON and the rest are constant words.

use super::sink::{Line, Written, named};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// A connection to the journal.
#[derive(Debug)]
pub(super) struct JournalSink {
    path: PathBuf,
    socket: UnixDatagram,
    datagram: Vec<u8>,
}

impl JournalSink {
    /// The journal of this system.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn open() -> io::Result<JournalSink> {
        JournalSink::connect(Path::new(SOCKET))
    }

    fn connect(path: &Path) -> io::Result<JournalSink> {
        let socket = connect(path).map_err(|error| {
            named(&format!("audit.file = \"journald\": no journal listens at {}", path.display()), error)
        })?;
        Ok(JournalSink { path: path.to_owned(), socket, datagram: Vec::new() })
    }

    /// Sends one datagram per line.
    pub(super) fn write(&mut self, text: &[u8], lines: &[Line]) -> Written {
        let mut start = 0;
        let mut refused = 0;
        for (index, line) in lines.iter().enumerate() {
            let json = text[start..line.end].strip_suffix(b"\n").unwrap_or(&text[start..line.end]);
            start = line.end;
            self.fill(json, line);
            match self.send() {
                Ok(()) => {}
                // longer than the kernel lets any datagram be: it will never go
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) => refused += 1,
                Err(error) => return Written { lines: index, refused, error: Some(error) },
            }
        }
        Written { lines: lines.len(), refused, error: None }
    }

    /// Sends, once more on a new connection when the journal was started anew.
    fn send(&mut self) -> io::Result<()> {
        match self.socket.send(&self.datagram) {
            Err(error) if is_gone(&error) => {
                self.socket = connect(&self.path)?;
                self.socket.send(&self.datagram).map(drop)
            }
            other => other.map(drop),
        }
    }

    fn fill(&mut self, json: &[u8], line: &Line) {
        let priority: &[u8] = if line.notable { b"5" } else { b"6" };
        self.datagram.clear();
        let mut field = |name: &str, value: &[u8]| {
            self.datagram.extend_from_slice(name.as_bytes());
            self.datagram.push(b'=');
            self.datagram.extend_from_slice(value);
            self.datagram.push(b'\n');
        };
        field("MESSAGE", json);
        field("PRIORITY", priority);
        field("SYSLOG_IDENTIFIER", b"countersign-audit");
        field("COUNTERSIGN_OUTCOME", line.word.as_bytes());
        if let Some(reason) = line.reason {
            field("COUNTERSIGN_REASON", reason.as_bytes());
        }
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(socket)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
    )
}

const SOCKET: &str = "/run/systemd/journal/socket";

#[cfg(test)]
mod tests {
    use super::super::sink::tests_support::lines_of;
    use super::*;

    fn receive(journal: &UnixDatagram) -> String {
        let mut buffer = vec![0; 64 * 1024];
        let n = journal.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..n].to_vec()).unwrap()
    }

    #[test]
    fn a_record_is_a_datagram_that_can_be_selected_by_its_outcome() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        let mut sink = JournalSink::connect(&path).unwrap();
        let text = "{\"a\":1}\n{\"b\":2}\n";
        let mut lines = lines_of(text);
        lines[1] = Line { word: "refuse", reason: Some("missing_signature"), notable: true, ..lines[1] };
        let written = sink.write(text.as_bytes(), &lines);
        assert_eq!((written.lines, written.refused), (2, 0));
        assert_eq!(
            receive(&journal),
            "MESSAGE={\"a\":1}\nPRIORITY=6\nSYSLOG_IDENTIFIER=countersign-audit\nCOUNTERSIGN_OUTCOME=allow\n"
        );
        assert_eq!(
            receive(&journal),
            "MESSAGE={\"b\":2}\nPRIORITY=5\nSYSLOG_IDENTIFIER=countersign-audit\nCOUNTERSIGN_OUTCOME=refuse\n\
             COUNTERSIGN_REASON=missing_signature\n"
        );
    }

    #[test]
    fn a_journal_that_was_started_anew_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        let mut sink = JournalSink::connect(&path).unwrap();
        drop(journal);
        std::fs::remove_file(&path).unwrap();
        let text = "{}\n";
        assert!(sink.write(text.as_bytes(), &lines_of(text)).error.is_some());
        let journal = UnixDatagram::bind(&path).unwrap();
        assert!(sink.write(text.as_bytes(), &lines_of(text)).error.is_none());
        assert!(receive(&journal).starts_with("MESSAGE={}\n"));
    }

    #[test]
    fn a_record_no_datagram_can_hold_is_refused_and_the_next_one_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        let mut sink = JournalSink::connect(&path).unwrap();
        let text = format!("{}\nshort\n", "x".repeat(8 << 20));
        let written = sink.write(text.as_bytes(), &lines_of(&text));
        assert_eq!((written.lines, written.refused), (2, 1));
        assert!(receive(&journal).starts_with("MESSAGE=short\n"));
    }

    #[test]
    fn where_no_journal_is_the_error_names_the_place_and_the_key() {
        let error = JournalSink::connect(Path::new("/nonexistent/socket")).unwrap_err().to_string();
        assert!(error.contains("audit.file = \"journald\"") && error.contains("/nonexistent/socket"), "{error}");
    }
}
