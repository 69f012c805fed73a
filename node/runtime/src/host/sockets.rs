//! `wasi:sockets` on the pod's virtual network. Nothing of it reaches the kernel.

mod bindings;
mod lookup;
mod network;
mod options;
mod streams;
mod tcp;
mod udp;

use std::sync::{Arc, Weak};

use coracle_network::{PodStack, TcpListener};
use parking_lot::Mutex;
use wasmtime::component::{HasData, Linker, ResourceTable};

use self::bindings::wasi::sockets as wit;
use super::Host;

/// The listeners of a container, so that they can be drained when it is to stop.
#[derive(Clone, Default)]
pub(crate) struct Listeners(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    listeners: Vec<Weak<TcpListener>>,
    is_draining: bool,
}

impl Listeners {
    pub(crate) fn add(&self, listener: &Arc<TcpListener>) {
        let mut known = self.0.lock();
        if known.is_draining {
            // Told to stop before it listened: without this it would wait for a caller until it is killed.
            listener.drain();
        }
        known
            .listeners
            .retain(|listener| listener.strong_count() > 0);
        known.listeners.push(Arc::downgrade(listener));
    }

    /// No listener, nor any to come, takes further connections; accepting fails once those waiting are accepted.
    pub(crate) fn drain(&self) {
        let mut known = self.0.lock();
        known.is_draining = true;
        for listener in known.listeners.iter().filter_map(Weak::upgrade) {
            listener.drain();
        }
    }
}

/// What the implementations work on.
pub(crate) struct NetView<'a> {
    table: &'a mut ResourceTable,
    stack: &'a Arc<PodStack>,
    listeners: &'a Listeners,
}

struct HasNet;

impl HasData for HasNet {
    type Data<'a> = NetView<'a>;
}

impl Host {
    fn net(&mut self) -> NetView<'_> {
        NetView {
            table: &mut self.table,
            stack: &self.stack,
            listeners: &self.listeners,
        }
    }
}

pub(crate) fn add_to_linker(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    wit::network::add_to_linker::<Host, HasNet>(linker, Host::net)?;
    wit::instance_network::add_to_linker::<Host, HasNet>(linker, Host::net)?;
    wit::ip_name_lookup::add_to_linker::<Host, HasNet>(linker, Host::net)?;
    wit::tcp::add_to_linker::<Host, HasNet>(linker, Host::net)?;
    wit::tcp_create_socket::add_to_linker::<Host, HasNet>(linker, Host::net)?;
    wit::udp::add_to_linker::<Host, HasNet>(linker, Host::net)?;
    wit::udp_create_socket::add_to_linker::<Host, HasNet>(linker, Host::net)?;
    Ok(())
}
