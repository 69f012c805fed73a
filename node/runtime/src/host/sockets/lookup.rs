//! Name lookup: the pod's names, Services' names, and no others.

use std::vec;

use wasmtime::component::Resource;
use wasmtime_wasi_io::{
    async_trait,
    poll::{DynPollable, Pollable, subscribe},
};

use super::{
    NetView,
    network::{Network, SocketResult, ip_to_guest},
    wit::{
        ip_name_lookup::{Host, HostResolveAddressStream},
        network::IpAddress,
    },
};

/// The addresses found. They are known at once: the table of names is in memory.
pub struct Lookup(vec::IntoIter<IpAddress>);

#[async_trait]
impl Pollable for Lookup {
    async fn ready(&mut self) {}
}

impl Host for NetView<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> SocketResult<Resource<Lookup>> {
        self.table.get(&network)?;
        let found: Vec<IpAddress> = self
            .stack
            .lookup(&name)?
            .into_iter()
            .map(ip_to_guest)
            .collect();
        Ok(self.table.push(Lookup(found.into_iter()))?)
    }
}

impl HostResolveAddressStream for NetView<'_> {
    fn resolve_next_address(
        &mut self,
        lookup: Resource<Lookup>,
    ) -> SocketResult<Option<IpAddress>> {
        Ok(self.table.get_mut(&lookup)?.0.next())
    }

    fn subscribe(&mut self, lookup: Resource<Lookup>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, lookup)
    }

    fn drop(&mut self, lookup: Resource<Lookup>) -> wasmtime::Result<()> {
        self.table.delete(lookup)?;
        Ok(())
    }
}
