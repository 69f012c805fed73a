//! The line discipline of a terminal (as a kernel's, `stty sane`): clients put theirs into raw mode, so echo, line editing and the meaning of control
//! characters are this side's. Pure: bytes in, bytes out. There are no escape sequences beyond being swallowed: editing is by backspace, ^U and ^W.

/// The longest line; what is typed beyond it is not taken.
const LINE_BYTES: usize = 4096;

const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const TAB: u8 = b'\t';
const KILL_WORD: u8 = 0x17;
const KILL_LINE: u8 = 0x15;
const ESCAPE: u8 = 0x1b;
const DELETE: u8 = 0x7f;

/// What typing comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Typed {
    /// What the client is to see.
    pub echo: Vec<u8>,
    /// What the program is to read.
    pub input: Vec<u8>,
    /// The input ends after it.
    pub ends: bool,
    /// The program is to be interrupted.
    pub interrupts: bool,
}

/// A terminal's state.
#[derive(Clone, Debug, Default)]
pub struct Terminal {
    line: Vec<u8>,
    escape: Escape,
}

/// Where in an escape sequence the input is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    /// After ESC.
    Begun,
    /// After ESC and `[` or `O`: until a letter.
    Sequence,
}

impl Terminal {
    /// Takes what was typed.
    pub fn type_in(&mut self, bytes: &[u8]) -> Typed {
        let mut typed = Typed::default();
        for &byte in bytes {
            self.key(byte, &mut typed);
        }
        typed
    }

    fn key(&mut self, byte: u8, typed: &mut Typed) {
        match self.escape {
            Escape::Begun => {
                let continues = matches!(byte, b'[' | b'O');
                self.escape = if continues {
                    Escape::Sequence
                } else {
                    Escape::None
                };
                return;
            }
            Escape::Sequence => {
                if (0x40..=0x7e).contains(&byte) {
                    self.escape = Escape::None;
                }
                return;
            }
            Escape::None => {}
        }
        match byte {
            b'\r' | b'\n' => {
                typed.echo.extend_from_slice(b"\r\n");
                self.line.push(b'\n');
                typed.input.append(&mut self.line);
            }
            DELETE | BACKSPACE => {
                self.erase(typed);
            }
            KILL_LINE => while self.erase(typed) {},
            KILL_WORD => {
                while self.line.last() == Some(&b' ') && self.erase(typed) {}
                while self.line.last().is_some_and(|last| *last != b' ') && self.erase(typed) {}
            }
            INTERRUPT => {
                typed.echo.extend_from_slice(b"^C\r\n");
                self.line.clear();
                typed.interrupts = true;
            }
            // In the middle of a line it hands over what there is.
            END if self.line.is_empty() => typed.ends = true,
            END => typed.input.append(&mut self.line),
            ESCAPE => self.escape = Escape::Begun,
            byte if byte < b' ' && byte != TAB => {}
            byte if self.line.len() < LINE_BYTES => {
                self.line.push(byte);
                typed.echo.push(byte);
            }
            _ => {}
        }
    }

    /// Takes the last character away. Says whether there was one.
    fn erase(&mut self, typed: &mut Typed) -> bool {
        // A character in UTF-8 ends with its bytes 10xxxxxx, and is one wide here.
        while let Some(byte) = self.line.pop() {
            if byte & 0xc0 != 0x80 {
                typed.echo.extend_from_slice(b"\x08 \x08");
                return true;
            }
        }
        false
    }
}

/// What a program says as a terminal shows it: a new line begins at the left.
#[must_use]
pub fn shown(bytes: &[u8]) -> Vec<u8> {
    let mut shown = Vec::with_capacity(bytes.len() + 16);
    for &byte in bytes {
        if byte == b'\n' {
            shown.push(b'\r');
        }
        shown.push(byte);
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(keys: &str) -> (String, String) {
        let typed = Terminal::default().type_in(keys.as_bytes());
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(typed.input), text(typed.echo))
    }

    #[test]
    fn lines_are_edited_before_they_are_read() {
        assert_eq!(told("ls\r"), ("ls\n".to_owned(), "ls\r\n".to_owned()));
        assert_eq!(told("lx\x7fs\r").0, "ls\n");
        assert_eq!(told("lü\x7fs\r").0, "ls\n");
        assert_eq!(told("echo one two\x17three\r").0, "echo one three\n");
        assert_eq!(told("echo one\x15pwd\r").0, "pwd\n");
        assert_eq!(told("l\x1b[A\x1b[1;5Cs\x1bOP\r").0, "ls\n");
        assert_eq!(told("\x7f\x17\x15ls\r").0, "ls\n");
        assert_eq!(told("not yet").0, "");
    }

    #[test]
    fn control_keys_end_and_interrupt() {
        let mut terminal = Terminal::default();
        let typed = terminal.type_in(b"half a line\x03");
        assert!(typed.interrupts && typed.input.is_empty());
        assert!(typed.echo.ends_with(b"^C\r\n"));
        assert_eq!(terminal.type_in(b"\r").input, b"\n", "the line is gone");
        let typed = terminal.type_in(b"word\x04");
        assert_eq!((typed.input.as_slice(), typed.ends), (&b"word"[..], false));
        assert!(terminal.type_in(b"\x04").ends);
    }

    #[test]
    fn output_begins_new_lines_at_the_left() {
        assert_eq!(shown(b"a\nb\n"), b"a\r\nb\r\n");
    }

    proptest! {
        #[test]
        fn any_keys_are_taken_and_lines_are_bounded(keys in proptest::collection::vec(any::<u8>(), 0..9000)) {
            let mut terminal = Terminal::default();
            for part in keys.chunks(100) {
                let typed = terminal.type_in(part);
                prop_assert!(typed.input.len() <= LINE_BYTES + part.len());
                prop_assert!(terminal.line.len() <= LINE_BYTES);
            }
        }
    }
}
