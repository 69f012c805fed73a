//! The guestbook's store: a long-running TCP server with a protocol of its own. A connection sends lines and gets a line, or lines, for each:
//!
//! ```text
//! ADD <text>   ->  OK <number>           the entry's number, from 1
//! LIST         ->  <number> <text> ...   a line for each of the newest entries, oldest first, then END
//! COUNT        ->  OK <number>
//! other        ->  ERR <why>
//! ```
//!
//! Entries are appended to `/data/entries` when the pod mounts a volume there, and read back when the container starts again.

use std::{
    cell::RefCell,
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    path::Path,
    rc::Rc,
};

use coracle_sdk::{
    config, log,
    net::{self, AsyncRead, AsyncWrite, TcpStream},
};

/// The longest line taken: an entry is a sentence or two, and a client may not make the store hold more.
const LINE_LIMIT: usize = 1024;
/// How many entries are kept in memory and listed.
const ENTRY_LIMIT: usize = 1000;
/// Where entries are kept when a volume is mounted.
const FOLDER: &str = "/data";

coracle_sdk::run!(store);

async fn store() -> Result<(), Box<dyn std::error::Error>> {
    let port = config::var_or("PORT", 6380)?;
    let entries = Rc::new(RefCell::new(Entries::open(Path::new(FOLDER))?));
    log::info(&format!(
        "{} entries, listening on port {port}",
        entries.borrow().count
    ));
    net::serve(port, move |stream| converse(stream, Rc::clone(&entries))).await?;
    Ok(())
}

/// What people wrote.
struct Entries {
    count: usize,
    newest: std::collections::VecDeque<(usize, String)>,
    file: Option<File>,
}

impl Entries {
    fn open(folder: &Path) -> io::Result<Self> {
        let mut entries = Self {
            count: 0,
            newest: std::collections::VecDeque::new(),
            file: None,
        };
        if !folder.is_dir() {
            return Ok(entries);
        }
        let path = folder.join("entries");
        if path.exists() {
            for line in BufReader::new(File::open(&path)?).lines() {
                entries.remember(line?);
            }
        }
        entries.file = Some(OpenOptions::new().create(true).append(true).open(path)?);
        Ok(entries)
    }

    fn remember(&mut self, text: String) {
        self.count += 1;
        self.newest.push_back((self.count, text));
        if self.newest.len() > ENTRY_LIMIT {
            self.newest.pop_front();
        }
    }

    fn answer(&mut self, line: &str) -> io::Result<String> {
        Ok(match line.split_once(' ').unwrap_or((line, "")) {
            ("ADD", "") => "ERR an entry needs text\n".to_owned(),
            ("ADD", text) => {
                if let Some(file) = &mut self.file {
                    writeln!(file, "{text}")?;
                }
                self.remember(text.to_owned());
                format!("OK {}\n", self.count)
            }
            ("COUNT", _) => format!("OK {}\n", self.count),
            ("LIST", _) => {
                let mut lines: String = self
                    .newest
                    .iter()
                    .map(|(number, text)| format!("{number} {text}\n"))
                    .collect();
                lines.push_str("END\n");
                lines
            }
            _ => "ERR say ADD, LIST or COUNT\n".to_owned(),
        })
    }
}

/// Answers one client until it hangs up.
async fn converse(mut stream: TcpStream, entries: Rc<RefCell<Entries>>) -> io::Result<()> {
    let mut buffer = Vec::new();
    let mut chunk = [0; 512];
    loop {
        while let Some(end) = buffer.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let answer = entries.borrow_mut().answer(line.trim())?;
            stream.write_all(answer.as_bytes()).await?;
        }
        if buffer.len() > LINE_LIMIT {
            return stream.write_all(b"ERR line too long\n").await;
        }
        match stream.read(&mut chunk).await? {
            0 => return Ok(()),
            n => buffer.extend_from_slice(&chunk[..n]),
        }
    }
}
