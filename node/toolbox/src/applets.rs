//! The commands: a table of names, and what they all share.

pub mod files;
mod listing;
mod network;
mod process;
mod tar;
mod test;
mod text;

use std::{future::Future, io, pin::Pin};

use crate::{
    shell::{self, Shell},
    streams::{Input, Output},
};

/// The exit code of a command that nobody knows.
const UNKNOWN: i32 = 127;
/// The exit code of a command whose reader has gone: 128 and the number of SIGPIPE.
const BROKEN_PIPE: i32 = 141;

/// What a command is given.
pub struct Job<'a> {
    pub shell: &'a mut Shell,
    /// Its name first.
    pub args: &'a [String],
    pub stdin: Input,
    pub out: Output,
    pub err: Output,
}

/// Why a command failed.
pub enum Failure {
    Io(io::Error),
    Says(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<String> for Failure {
    fn from(says: String) -> Self {
        Self::Says(says)
    }
}

impl From<&str> for Failure {
    fn from(says: &str) -> Self {
        Self::Says(says.to_owned())
    }
}

type Done = Result<i32, Failure>;

impl Job<'_> {
    /// What follows the name.
    fn rest(&self) -> &[String] {
        &self.args[1..]
    }

    /// Flags of single letters, and what follows them. `--` ends the flags.
    fn flags(&self, known: &str) -> Result<(String, Vec<String>), Failure> {
        let (mut flags, mut rest) = (String::new(), Vec::new());
        let mut args = self.rest().iter();
        while let Some(arg) = args.next() {
            match arg.strip_prefix('-') {
                Some("-") => {
                    rest.extend(args.cloned());
                    break;
                }
                Some(letters) if !letters.is_empty() => {
                    if let Some(odd) = letters.chars().find(|letter| !known.contains(*letter)) {
                        return Err(format!("unknown option -{odd}").into());
                    }
                    flags.push_str(letters);
                }
                _ => rest.push(arg.clone()),
            }
        }
        Ok((flags, rest))
    }

    async fn say(&self, text: impl AsRef<[u8]>) -> io::Result<()> {
        self.out.write(text.as_ref()).await
    }

    async fn complain(&self, what: &str) -> io::Result<()> {
        let name = &self.args[0];
        self.err.write(format!("{name}: {what}\n").as_bytes()).await
    }

    /// The inputs that arguments name: standard input where there are none, and for `-`.
    fn take_stdin(&mut self) -> Input {
        std::mem::replace(&mut self.stdin, Input::Empty)
    }

    fn open(&mut self, name: &str) -> Result<Input, Failure> {
        if name == "-" {
            return Ok(self.take_stdin());
        }
        let opened = std::fs::File::open(self.shell.path(name));
        Ok(Input::File(std::rc::Rc::new(
            opened.map_err(|error| format!("{name}: {}", told(&error)))?,
        )))
    }
}

/// An error as people know it.
pub fn told(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "No such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "Permission denied".to_owned(),
        io::ErrorKind::AlreadyExists => "File exists".to_owned(),
        io::ErrorKind::IsADirectory => "Is a directory".to_owned(),
        io::ErrorKind::NotADirectory => "Not a directory".to_owned(),
        io::ErrorKind::DirectoryNotEmpty => "Directory not empty".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "Read-only file system".to_owned(),
        _ => error.to_string(),
    }
}

/// The names, for `help`.
const NAMES: &str = ". : [ basename cat cd cp date dirname echo env eval exit export false grep head help hostname id ls mkdir mv nc nslookup printenv printf ps \
pwd read rm rmdir seq set sh shift sleep sort tail tar tee test touch tr true uniq unset wc wget which yes";

/// Runs a command by its name.
pub fn run<'a>(
    shell: &'a mut Shell,
    args: &'a [String],
    stdin: Input,
    out: Output,
    err: Output,
) -> Pin<Box<dyn Future<Output = i32> + 'a>> {
    Box::pin(async move {
        let Some(given) = args.first() else {
            return 0;
        };
        let name = given.rsplit('/').next().unwrap_or(given).to_owned();
        if matches!(name.as_str(), "sh" | "ash" | "bash") {
            let mut inner = shell.clone();
            return shell::main(&mut inner, args, stdin, out, err).await;
        }
        let mut job = Job {
            shell,
            args,
            stdin,
            out,
            err,
        };
        let done = match name.as_str() {
            "cat" => files::cat(&mut job).await,
            "cp" => files::cp(&mut job).await,
            "mkdir" => files::mkdir(&mut job).await,
            "mv" => files::mv(&mut job).await,
            "rm" | "rmdir" => files::rm(&mut job).await,
            "touch" => files::touch(&mut job).await,
            "ls" => listing::ls(&mut job).await,
            "echo" => text::echo(&mut job).await,
            "printf" => text::printf(&mut job).await,
            "grep" => text::grep(&mut job).await,
            "head" => text::head(&mut job).await,
            "tail" => text::tail(&mut job).await,
            "wc" => text::wc(&mut job).await,
            "seq" => text::seq(&mut job).await,
            "sort" => text::sort(&mut job).await,
            "uniq" => text::uniq(&mut job).await,
            "tr" => text::tr(&mut job).await,
            "tee" => text::tee(&mut job).await,
            "yes" => text::yes(&mut job).await,
            "basename" | "dirname" => text::part_of_path(&mut job, &name).await,
            "tar" => tar::tar(&mut job).await,
            "test" | "[" => test::test(&mut job).await,
            "nc" => network::nc(&mut job).await,
            "wget" => network::wget(&mut job).await,
            "nslookup" => network::nslookup(&mut job).await,
            "cd" => process::cd(&mut job).await,
            "pwd" => process::pwd(&mut job).await,
            "env" | "printenv" => process::env(&mut job).await,
            "export" => process::export(&mut job).await,
            "unset" => process::unset(&mut job).await,
            "set" => process::set(&mut job).await,
            "shift" => process::shift(&mut job).await,
            "read" => process::read(&mut job).await,
            "eval" | "." => process::eval(&mut job).await,
            "ps" => process::ps(&mut job).await,
            "sleep" => process::sleep(&mut job).await,
            "date" => process::date(&mut job).await,
            "hostname" => process::hostname(&mut job).await,
            "id" => process::id(&mut job).await,
            "which" => process::which(&mut job, NAMES).await,
            "help" => job
                .say(format!("{NAMES}\n"))
                .await
                .map(|()| 0)
                .map_err(Failure::Io),
            "true" | ":" => Ok(0),
            "false" => Ok(1),
            _ => {
                let says = format!("exec: {given:?}: executable file not found in $PATH\n");
                let _ = job.err.write(says.as_bytes()).await;
                Ok(UNKNOWN)
            }
        };
        match done {
            Ok(code) => code,
            Err(Failure::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => BROKEN_PIPE,
            Err(failure) => {
                let says = match failure {
                    Failure::Io(error) => told(&error),
                    Failure::Says(says) => says,
                };
                // Nowhere to say that nothing can be said.
                let _ = job.complain(&says).await;
                1
            }
        }
    })
}
