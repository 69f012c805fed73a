//! Reads a watch frame by frame, never longer than a deadline.

use std::{collections::VecDeque, time::Duration};

use axum::body::{Body, BodyDataStream};
use futures::StreamExt as _;
use serde_json::Value;
use tokio::time::timeout;

/// What does not come within this time does not come.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub struct Frames {
    body: BodyDataStream,
    rest: Vec<u8>,
    ready: VecDeque<Value>,
}

impl Frames {
    pub fn new(body: Body) -> Self {
        Self {
            body: body.into_data_stream(),
            rest: Vec::new(),
            ready: VecDeque::new(),
        }
    }

    /// The next frame, or `None` at the end of the watch.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            let chunk = timeout(DEADLINE, self.body.next())
                .await
                .expect("no frame within the deadline")?;
            self.rest.extend_from_slice(&chunk.unwrap());
            while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                self.ready.push_back(serde_json::from_slice(&line).unwrap());
            }
        }
    }

    /// The next frame as `TYPE name`.
    pub async fn told(&mut self) -> String {
        let frame = self.next().await.expect("the watch has ended");
        let name = frame["object"]["metadata"]["name"].as_str();
        format!(
            "{} {}",
            frame["type"].as_str().unwrap(),
            name.unwrap_or("-")
        )
    }

    /// All frames up to the end, as `TYPE name`.
    pub async fn all(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(frame) = self.next().await {
            self.ready.push_front(frame);
            all.push(self.told().await);
        }
        all
    }
}
