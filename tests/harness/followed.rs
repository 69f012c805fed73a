//! A command that goes on, such as `kubectl get -w`: its output is collected while the test does something else.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use crate::wait::eventually;

/// A running command. Killed when dropped.
#[derive(Debug)]
pub struct Followed {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Followed {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = Arc::new(Mutex::new(String::new()));
        let collected = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut said = collected.lock().unwrap();
                said.push_str(&line);
                said.push('\n');
            }
        });
        Self { child, said }
    }

    /// Waits until it has said something, and returns all it has said.
    ///
    /// # Panics
    /// When it has not within a minute.
    pub fn until(&self, text: &str) -> String {
        eventually(text, || {
            let said = self.said.lock().unwrap();
            said.contains(text).then(|| said.clone())
        })
    }

    /// Waits until it ends by itself with success.
    ///
    /// # Panics
    /// When it does not within a minute, or fails.
    pub fn ends(mut self) {
        let status = eventually("it ends", || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}");
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
