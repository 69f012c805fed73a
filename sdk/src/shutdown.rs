//! Learning that the pod is to stop. WASI has no signals: the node tells a program by closing its listeners, and this waits for that. A server made
//! with [`crate::net::serve`] needs none of it, it ends by itself; a program that serves nothing, or has to put something away first, does.

use std::io;

use wstd::{iter::AsyncIterator, net::TcpListener};

/// Returns when the pod is told to stop. From then on the program has the pod's `terminationGracePeriodSeconds` to end by itself.
///
/// May be awaited by several tasks at a time; each gets a listener of its own on the pod's loopback, on a port the system picks.
///
/// # Errors
/// When no port is to be had.
///
/// ```no_run
/// use coracle_sdk::{log, shutdown};
///
/// coracle_sdk::run!(work);
///
/// async fn work() -> std::io::Result<()> {
///     // ... spawn what the program does ...
///     shutdown::requested().await?;
///     log::info("putting things away");
///     Ok(())
/// }
/// ```
pub async fn requested() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut incoming = listener.incoming();
    // Nobody has a reason to connect; who does all the same is hung up on.
    while let Some(Ok(stream)) = incoming.next().await {
        drop(stream);
    }
    Ok(())
}
