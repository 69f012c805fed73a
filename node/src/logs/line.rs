//! Lines of a log as the CRI has them: `time stream tag text`, where the tag says whether the line is whole (`F`) or goes on (`P`). Pure.

use jiff::Timestamp;

/// A line that is longer is cut in parts of this size. containerd's value.
pub const LONGEST: usize = 16 << 10;

/// Where a container wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// As logs have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Makes lines of what is written to one stream.
#[derive(Debug)]
pub struct Lines {
    stream: Stream,
    /// What was written since the last line ended.
    begun: Vec<u8>,
}

impl Lines {
    /// Nothing was written yet.
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            begun: Vec::new(),
        }
    }

    /// Appends the lines that `bytes` complete to `out`.
    pub fn write(&mut self, bytes: &[u8], now: Timestamp, out: &mut Vec<u8>) {
        let mut head = None;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let mut text = text;
            while self.begun.len() + text.len() > LONGEST {
                let (part, rest) =
                    text.split_at(LONGEST.saturating_sub(self.begun.len()).min(text.len()));
                self.begun.extend_from_slice(part);
                self.emit(b"P", &mut head, now, out);
                text = rest;
            }
            self.begun.extend_from_slice(text);
            if ends {
                self.emit(b"F", &mut head, now, out);
            }
        }
    }

    /// The stream has ended: appends what no line end followed.
    pub fn finish(&mut self, now: Timestamp, out: &mut Vec<u8>) {
        if !self.begun.is_empty() {
            self.emit(b"P", &mut None, now, out);
        }
    }

    /// Appends a line. `head` keeps the time and stream as text for the lines of one write.
    fn emit(&mut self, tag: &[u8], head: &mut Option<String>, now: Timestamp, out: &mut Vec<u8>) {
        let head = head.get_or_insert_with(|| format!("{now:.9} {} ", self.stream.as_str()));
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(tag);
        out.push(b' ');
        out.extend_from_slice(&self.begun);
        out.push(b'\n');
        self.begun.clear();
    }
}

/// A line read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// When it was written, as text.
    pub time: &'a str,
    /// Where.
    pub stream: Stream,
    /// Whether the next line goes on with it.
    pub goes_on: bool,
    /// What.
    pub text: &'a [u8],
}

/// Reads a line, without its end. Nothing when it is none: what a crash left of one.
#[must_use]
pub fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stream = match parts.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let goes_on = match parts.next()? {
        b"F" => false,
        b"P" => true,
        _ => return None,
    };
    Some(Line {
        time,
        stream,
        goes_on,
        text: parts.next()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time() -> Timestamp {
        Timestamp::from_nanosecond(1_700_000_000_123_456_789).unwrap()
    }

    #[test]
    fn lines_are_written_when_they_end() {
        let mut lines = Lines::new(Stream::Stdout);
        let mut out = Vec::new();
        lines.write(b"one\ntw", time(), &mut out);
        assert_eq!(out, b"2023-11-14T22:13:20.123456789Z stdout F one\n");
        out.clear();
        lines.write(b"o\n\n", time(), &mut out);
        assert_eq!(String::from_utf8(out.clone()).unwrap().lines().count(), 2);
        out.clear();
        lines.write(b"end", time(), &mut out);
        assert_eq!(out, b"");
        lines.finish(time(), &mut out);
        assert_eq!(out, b"2023-11-14T22:13:20.123456789Z stdout P end\n");
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read_back(writes in prop::collection::vec(prop::collection::vec(prop::sample::select(vec![b'a', b'\n', 0xff, b' ']), 0..40_000), 0..4)) {
            let mut lines = Lines::new(Stream::Stderr);
            let mut out = Vec::new();
            for write in &writes {
                lines.write(write, time(), &mut out);
            }
            lines.finish(time(), &mut out);
            let mut back = Vec::new();
            for line in out.split_inclusive(|byte| *byte == b'\n') {
                let line = parse(line.strip_suffix(b"\n").unwrap()).unwrap();
                prop_assert!(line.text.len() <= LONGEST && line.stream == Stream::Stderr);
                back.extend_from_slice(line.text);
                if !line.goes_on {
                    back.push(b'\n');
                }
            }
            prop_assert_eq!(back, writes.concat());
        }

        #[test]
        fn any_bytes_are_a_line_or_not(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&bytes);
        }
    }
}
