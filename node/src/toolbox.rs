//! The built-in toolbox: one module with a small shell and the usual commands, for `kubectl exec` in containers whose image is one module and nothing else.
//! Compiled in where `cargo xtask guests` had made it before the build; see docs/adr/0060.

use std::sync::Arc;

use bytes::Bytes;
use coracle_runtime::{Artifact, Runtime};
use tokio::sync::OnceCell;

/// The module; empty where the build had none.
const MODULE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/toolbox.wasm"));

/// The image that is the toolbox, on every node and in no registry: what `kubectl debug --image` may name.
pub(crate) const IMAGE: &str = "coracle.dev/toolbox";

/// The toolbox of a node, made runnable when it is first needed.
#[derive(Debug, Default)]
pub(crate) struct Toolbox {
    ready: OnceCell<Arc<Artifact>>,
}

impl Toolbox {
    /// The module that runs its commands; the first word of the arguments says which.
    ///
    /// # Errors
    /// When there is none, or it cannot be run; for people.
    pub(crate) async fn artifact(&self, runtime: &Arc<Runtime>) -> Result<Arc<Artifact>, String> {
        if MODULE.is_empty() {
            return Err(
                "this node was built without the toolbox: build again after `cargo xtask guests`"
                    .to_owned(),
            );
        }
        let preparing = || runtime.prepare(Bytes::from_static(MODULE));
        let ready = self.ready.get_or_try_init(preparing).await;
        ready
            .cloned()
            .map_err(|error| format!("prepare the toolbox: {error}"))
    }
}
