//! The traits that `wit/sockets.wit` asks for, generated.

#![allow(missing_docs, reason = "generated")]

wasmtime::component::bindgen!({
    path: "wit",
    world: "coracle:network/host",
    imports: { default: trappable },
    require_store_data_send: true,
    trappable_error_type: { "wasi:sockets/network.error-code" => super::network::SocketError },
    with: {
        "wasi:io": wasmtime_wasi_io::bindings::wasi::io,
        "wasi:clocks": wasmtime_wasi::p2::bindings::clocks,
        "wasi:sockets/network.network": super::network::Network,
        "wasi:sockets/ip-name-lookup.resolve-address-stream": super::lookup::Lookup,
        "wasi:sockets/tcp.tcp-socket": super::tcp::Tcp,
        "wasi:sockets/udp.udp-socket": super::udp::Udp,
        "wasi:sockets/udp.incoming-datagram-stream": super::udp::IncomingDatagrams,
        "wasi:sockets/udp.outgoing-datagram-stream": super::udp::OutgoingDatagrams,
    },
});
