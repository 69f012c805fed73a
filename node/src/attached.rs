//! Who watches what a container says as it says it (`kubectl attach`). The container's log comes first: a viewer that does not keep up is let go, and the
//! container never waits for one.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use coracle_api::channels::{ERROR, failed};
use coracle_runtime::LogSink;
use parking_lot::Mutex;

use crate::said::Said;

/// Bytes that a viewer may be behind.
const BEHIND: usize = 1 << 20;
/// Viewers of one container.
const VIEWERS: usize = 16;

/// The viewers of a container, whichever of its runs is the present one.
#[derive(Debug, Default)]
pub(crate) struct Attached {
    viewers: Mutex<Vec<Viewer>>,
}

/// Somebody who watches.
#[derive(Clone, Debug)]
pub(crate) struct Viewer {
    pub(crate) said: Arc<Said>,
    /// The channels that are wanted.
    pub(crate) channels: Vec<u8>,
}

impl Attached {
    /// Shows `viewer` what is said from now on. Says whether there was room.
    pub(crate) fn add(&self, viewer: Viewer) -> bool {
        let mut viewers = self.viewers.lock();
        viewers.retain(|viewer| Arc::strong_count(&viewer.said) > 1);
        let has_room = viewers.len() < VIEWERS;
        if has_room {
            viewers.push(viewer);
        }
        has_room
    }

    /// A stream into `log` that is shown as it is written.
    pub(crate) fn tee(self: &Arc<Self>, log: Arc<dyn LogSink>, channel: u8) -> Arc<dyn LogSink> {
        Arc::new(Tee {
            attached: Arc::clone(self),
            log,
            channel,
        })
    }

    fn show(&self, channel: u8, bytes: &[u8]) {
        let mut viewers = self.viewers.lock();
        viewers.retain(|viewer| {
            if viewer.said.unheard() > BEHIND {
                let behind = failed("too much was said to keep up with");
                viewer.said.end(ERROR, behind.to_string().as_bytes());
                return false;
            }
            if viewer.channels.contains(&channel) {
                viewer.said.say(channel, bytes);
            }
            true
        });
    }
}

struct Tee {
    attached: Arc<Attached>,
    log: Arc<dyn LogSink>,
    channel: u8,
}

impl LogSink for Tee {
    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        self.log.poll_ready(context)
    }

    fn write(&self, bytes: Bytes) {
        self.attached.show(self.channel, &bytes);
        self.log.write(bytes);
    }
}

#[cfg(test)]
mod tests {
    use coracle_api::channels::{STDERR, STDOUT};

    use super::*;

    struct Nowhere;

    impl LogSink for Nowhere {
        fn poll_ready(&self, _context: &mut Context<'_>) -> Poll<()> {
            Poll::Ready(())
        }

        fn write(&self, _bytes: Bytes) {}
    }

    #[test]
    fn viewers_see_what_they_want_and_who_falls_behind_is_let_go() {
        let attached = Arc::new(Attached::default());
        let streams = [STDOUT, STDERR].map(|channel| attached.tee(Arc::new(Nowhere), channel));
        let said = Arc::new(Said::default());
        let viewer = Viewer {
            said: Arc::clone(&said),
            channels: vec![STDOUT],
        };
        assert!(attached.add(viewer.clone()));
        streams[1].write(Bytes::from_static(b"not wanted"));
        assert_eq!(said.unheard(), 0);
        for _ in 0..40 {
            streams[0].write(vec![b'x'; 64 << 10].into());
        }
        assert!(said.unheard() < BEHIND * 2, "{}", said.unheard());
        assert!(attached.viewers.lock().is_empty());
        for _ in 0..VIEWERS {
            assert!(attached.add(viewer.clone()));
        }
        assert!(!attached.add(viewer));
    }
}
