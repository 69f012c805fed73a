//! Looks over a child's shoulder, system call by system call: what it really does to the files of a folder, sled's doings included, and lets
//! chosen calls fail. A call that changes files in a way this does not know ends the test.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::{
    libc,
    sys::{
        ptrace::{self, Options},
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::disk::{Deed, Disk};

/// Event of a thread that was attached or began.
const EVENT_STOP: i32 = 128;

/// A call about to happen to a file of the folder, for whoever wants it to fail.
pub(crate) struct Attempt<'a> {
    /// The file, relative to the folder.
    pub(crate) path: &'a Path,
    /// Whether it is a sync; a write otherwise.
    pub(crate) sync: bool,
}

/// Runs a child that stops first, to its end; gives what it did. `refuse` may let an attempt fail with an error number.
pub(crate) fn watch(
    command: &mut Command,
    folder: &Path,
    base: &Disk,
    refuse: &mut dyn FnMut(&Attempt<'_>) -> Option<i32>,
) -> Vec<Deed> {
    #[allow(
        clippy::zombie_processes,
        reason = "the tracer waits for it, by its number"
    )]
    let child = command.stdout(Stdio::null()).spawn().unwrap();
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
    assert!(matches!(stopped, WaitStatus::Stopped(..)), "{stopped:?}");
    let options =
        Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let thread = thread.unwrap().file_name().into_string().unwrap();
        ptrace::seize(Pid::from_raw(thread.parse().unwrap()), options).unwrap();
    }
    kill(pid, Signal::SIGCONT).unwrap();
    let mut tracer = Tracer {
        pid,
        memory: File::open(format!("/proc/{pid}/mem")).unwrap(),
        folder: folder.canonicalize().unwrap(),
        names: base.names().clone(),
        next_file: base.names().len(),
        deeds: Vec::new(),
        inside: BTreeMap::new(),
        refuse,
    };
    tracer.run();
    tracer.deeds
}

struct Tracer<'a> {
    pid: Pid,
    memory: File,
    folder: PathBuf,
    names: BTreeMap<PathBuf, usize>,
    next_file: usize,
    deeds: Vec<Deed>,
    /// Threads inside a call, with what it will have done.
    inside: BTreeMap<Pid, Pending>,
    refuse: &'a mut dyn FnMut(&Attempt<'_>) -> Option<i32>,
}

/// What a call does if it succeeds.
enum Pending {
    Other,
    /// A write of so many bytes.
    Write {
        length: u64,
    },
    Open {
        path: PathBuf,
        empties: bool,
    },
    Deed(Deed),
    /// Made to fail.
    Refused {
        errno: i32,
    },
}

/// A call's number and arguments.
struct Call {
    thread: Pid,
    number: i64,
    arguments: [u64; 6],
}

impl Tracer<'_> {
    fn run(&mut self) {
        loop {
            let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
            match waitpid(None, Some(flags)).unwrap() {
                WaitStatus::Exited(pid, code) if pid == self.pid => {
                    assert_eq!(code, 0, "the child failed");
                    return;
                }
                WaitStatus::Signaled(pid, signal, _) if pid == self.pid => {
                    panic!("the child was ended by {signal}")
                }
                WaitStatus::PtraceSyscall(thread) => {
                    self.stopped(thread);
                    go_on(thread, None);
                }
                WaitStatus::PtraceEvent(thread, _, event) => {
                    if event == EVENT_STOP {
                        self.inside.remove(&thread);
                    }
                    go_on(thread, None);
                }
                WaitStatus::Stopped(thread, signal) => go_on(thread, Some(signal)),
                _ => {}
            }
        }
    }

    fn stopped(&mut self, thread: Pid) {
        match self.inside.remove(&thread) {
            None => {
                let call = call(thread);
                let pending = self.enters(&call);
                self.inside.insert(thread, pending);
            }
            Some(pending) => {
                let result = result(thread);
                self.leaves(thread, pending, result);
            }
        }
    }

    fn enters(&mut self, call: &Call) -> Pending {
        let [first, second, third, fourth, fifth, _] = call.arguments;
        match call.number {
            libc::SYS_write if first == 1 => {
                let said = self.bytes(second, third);
                let said = String::from_utf8_lossy(&said);
                self.deeds
                    .extend(said.lines().map(|line| Deed::Tell(line.to_owned())));
                Pending::Other
            }
            libc::SYS_write => self.write(call, self.position(call), second, third),
            libc::SYS_pwrite64 => self.write(call, Some(fourth), second, third),
            libc::SYS_ftruncate => self.on_file(call, |file, _| Deed::Resize {
                file,
                length: second,
            }),
            libc::SYS_fallocate => self.on_file(call, |file, _| {
                let hole = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                assert_eq!(second as i32, hole, "this fallocate is not known here");
                Deed::Erase {
                    file,
                    offset: third,
                    length: fourth,
                }
            }),
            libc::SYS_fsync | libc::SYS_fdatasync => self.sync(call),
            libc::SYS_syncfs => match self.opened(call) {
                Some(_) => Pending::Deed(Deed::SyncAll {
                    before: self.deeds.len(),
                }),
                None => Pending::Other,
            },
            libc::SYS_openat => self.open(call, first, second, third),
            libc::SYS_unlinkat => self.named(call, first, second, |path| Deed::Remove { path }),
            libc::SYS_mkdirat => self.named(call, first, second, |path| Deed::MakeFolder { path }),
            libc::SYS_renameat | libc::SYS_renameat2 => {
                self.rename(call, (first, second), (third, fourth))
            }
            libc::SYS_mmap => {
                let shared = fourth & libc::MAP_SHARED as u64 != 0;
                let writes = third & libc::PROT_WRITE as u64 != 0;
                let ours = fifth as i32 >= 0 && self.path_of(call.thread, fifth).is_some();
                assert!(!(shared && writes && ours), "writes through shared memory");
                Pending::Other
            }
            number => self.enters_old(number, call),
        }
    }

    /// Calls that only some processors have, and those that must not happen.
    fn enters_old(&mut self, number: i64, call: &Call) -> Pending {
        let [first, second, third, ..] = call.arguments;
        let here = libc::AT_FDCWD as u64;
        #[cfg(target_arch = "x86_64")]
        match number {
            libc::SYS_open => return self.open(call, here, first, second),
            libc::SYS_creat => panic!("creat is not known here"),
            libc::SYS_unlink | libc::SYS_rmdir => {
                return self.named(call, here, first, |path| Deed::Remove { path });
            }
            libc::SYS_mkdir => {
                return self.named(call, here, first, |path| Deed::MakeFolder { path });
            }
            libc::SYS_rename => return self.rename(call, (here, first), (here, second)),
            libc::SYS_truncate => panic!("truncate is not known here"),
            _ => {}
        }
        let _ = (here, third);
        let strange = [libc::SYS_writev, libc::SYS_pwritev, libc::SYS_pwritev2];
        assert!(
            !strange.contains(&number) || self.opened(call).is_none(),
            "call {number} on a file of the store is not known here"
        );
        assert!(
            number != libc::SYS_io_uring_setup,
            "io_uring is not known here"
        );
        let copies = number == libc::SYS_sendfile && self.path_of(call.thread, first).is_some()
            || number == libc::SYS_copy_file_range && self.path_of(call.thread, third).is_some();
        assert!(!copies, "copies between files are not known here");
        Pending::Other
    }

    fn leaves(&mut self, thread: Pid, pending: Pending, result: i64) {
        match pending {
            Pending::Other => {}
            Pending::Write { length } => {
                assert_eq!(result, length as i64, "a write was cut short");
            }
            Pending::Refused { errno } => answer(thread, -i64::from(errno)),
            _ if result < 0 => {}
            Pending::Open { path, empties } => match self.names.get(&path) {
                Some(file) if empties => self.deeds.push(Deed::Resize {
                    file: *file,
                    length: 0,
                }),
                Some(_) => {}
                None => {
                    let file = self.next_file;
                    self.next_file += 1;
                    self.names.insert(path.clone(), file);
                    self.deeds.push(Deed::Create { path, file });
                }
            },
            Pending::Deed(deed) => {
                match &deed {
                    Deed::Rename { from, to } => {
                        let file = self.names.remove(from).unwrap();
                        self.names.insert(to.clone(), file);
                    }
                    Deed::Remove { path } => {
                        self.names.remove(path);
                    }
                    _ => {}
                }
                self.deeds.push(deed);
            }
        }
    }

    fn write(&mut self, call: &Call, offset: Option<u64>, from: u64, length: u64) -> Pending {
        let Some(path) = self.opened(call) else {
            return Pending::Other;
        };
        let attempt = Attempt {
            path: &path,
            sync: false,
        };
        if let Some(errno) = (self.refuse)(&attempt) {
            return refused(call, errno);
        }
        let Some(file) = self.names.get(&path).copied() else {
            return Pending::Other;
        };
        // From here on any part of it may reach the disk.
        self.deeds.push(Deed::Write {
            file,
            offset: offset.unwrap(),
            bytes: self.bytes(from, length),
        });
        Pending::Write { length }
    }

    fn sync(&mut self, call: &Call) -> Pending {
        let Some(path) = self.opened(call) else {
            return Pending::Other;
        };
        let attempt = Attempt {
            path: &path,
            sync: true,
        };
        if let Some(errno) = (self.refuse)(&attempt) {
            return refused(call, errno);
        }
        let before = self.deeds.len();
        Pending::Deed(match self.names.get(&path) {
            Some(file) => Deed::Sync {
                file: *file,
                before,
            },
            None => Deed::SyncFolder { before },
        })
    }

    fn on_file(&mut self, call: &Call, deed: impl FnOnce(usize, &Path) -> Deed) -> Pending {
        let Some(path) = self.opened(call) else {
            return Pending::Other;
        };
        match self.names.get(&path) {
            Some(file) => Pending::Deed(deed(*file, &path)),
            None => Pending::Other,
        }
    }

    fn open(&mut self, call: &Call, folder: u64, name: u64, flags: u64) -> Pending {
        let (creates, empties) = (
            flags & libc::O_CREAT as u64 != 0,
            flags & libc::O_TRUNC as u64 != 0,
        );
        match self.resolve(call, folder, name) {
            Some(path) if creates || empties => Pending::Open { path, empties },
            _ => Pending::Other,
        }
    }

    fn named(
        &mut self,
        call: &Call,
        folder: u64,
        name: u64,
        deed: impl FnOnce(PathBuf) -> Deed,
    ) -> Pending {
        match self.resolve(call, folder, name) {
            Some(path) => Pending::Deed(deed(path)),
            None => Pending::Other,
        }
    }

    fn rename(&mut self, call: &Call, from: (u64, u64), to: (u64, u64)) -> Pending {
        let names = (
            self.resolve(call, from.0, from.1),
            self.resolve(call, to.0, to.1),
        );
        match names {
            (Some(from), Some(to)) => Pending::Deed(Deed::Rename { from, to }),
            (None, None) => Pending::Other,
            _ => panic!("a rename into or out of the store's folder"),
        }
    }

    /// The file of the folder that the call's first argument stands for.
    fn opened(&self, call: &Call) -> Option<PathBuf> {
        self.path_of(call.thread, call.arguments[0])
    }

    fn path_of(&self, thread: Pid, descriptor: u64) -> Option<PathBuf> {
        let link = format!("/proc/{thread}/fd/{}", descriptor as i32);
        let path = fs::read_link(link).ok()?;
        Some(path.strip_prefix(&self.folder).ok()?.to_owned())
    }

    /// A name, as seen from the folder that a descriptor stands for.
    fn resolve(&self, call: &Call, folder: u64, name: u64) -> Option<PathBuf> {
        let name = self.text(name);
        let start = if folder as i32 == libc::AT_FDCWD {
            format!("/proc/{}/cwd", call.thread)
        } else {
            format!("/proc/{}/fd/{}", call.thread, folder as i32)
        };
        let path = fs::read_link(start).ok()?.join(name);
        Some(path.strip_prefix(&self.folder).ok()?.to_owned())
    }

    /// Where the file's next plain write goes.
    fn position(&self, call: &Call) -> Option<u64> {
        let path = format!("/proc/{}/fdinfo/{}", call.thread, call.arguments[0] as i32);
        let text = fs::read_to_string(path).ok()?;
        text.lines()
            .find_map(|line| line.strip_prefix("pos:")?.trim().parse().ok())
    }

    fn bytes(&self, from: u64, length: u64) -> Vec<u8> {
        let mut bytes = vec![0; length as usize];
        self.memory.read_exact_at(&mut bytes, from).unwrap();
        bytes
    }

    fn text(&self, from: u64) -> String {
        let mut text = Vec::new();
        loop {
            let byte = self.bytes(from + text.len() as u64, 1)[0];
            if byte == 0 {
                return String::from_utf8(text).unwrap();
            }
            text.push(byte);
        }
    }
}

fn go_on(thread: Pid, signal: Option<Signal>) {
    // It may have been ended meanwhile.
    let _ = ptrace::syscall(thread, signal);
}

/// Points the call at no file, so that it does nothing, and remembers the error it is to report.
fn refused(call: &Call, errno: i32) -> Pending {
    let mut registers = ptrace::getregs(call.thread).unwrap();
    #[cfg(target_arch = "x86_64")]
    {
        registers.rdi = u64::MAX;
    }
    #[cfg(target_arch = "aarch64")]
    {
        registers.regs[0] = u64::MAX;
    }
    ptrace::setregs(call.thread, registers).unwrap();
    Pending::Refused { errno }
}

#[cfg(target_arch = "x86_64")]
fn call(thread: Pid) -> Call {
    let r = ptrace::getregs(thread).unwrap();
    Call {
        thread,
        number: r.orig_rax as i64,
        arguments: [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9],
    }
}

#[cfg(target_arch = "aarch64")]
fn call(thread: Pid) -> Call {
    let r = ptrace::getregs(thread).unwrap();
    Call {
        thread,
        number: r.regs[8] as i64,
        arguments: [
            r.regs[0], r.regs[1], r.regs[2], r.regs[3], r.regs[4], r.regs[5],
        ],
    }
}

#[cfg(target_arch = "x86_64")]
fn result(thread: Pid) -> i64 {
    ptrace::getregs(thread).unwrap().rax as i64
}

#[cfg(target_arch = "aarch64")]
fn result(thread: Pid) -> i64 {
    ptrace::getregs(thread).unwrap().regs[0] as i64
}

/// Gives the call another result.
fn answer(thread: Pid, result: i64) {
    let mut registers = ptrace::getregs(thread).unwrap();
    #[cfg(target_arch = "x86_64")]
    {
        registers.rax = result as u64;
    }
    #[cfg(target_arch = "aarch64")]
    {
        registers.regs[0] = result as u64;
    }
    ptrace::setregs(thread, registers).unwrap();
}
