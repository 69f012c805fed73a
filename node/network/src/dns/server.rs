//! The cluster's DNS address: every node answers there itself, for programs that speak DNS and do not use name lookup. A Service with endpoints that has the
//! address is preferred, so that a cluster may run a server of its own.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::message::{STREAM, answer};
use crate::{error::NetError, stream::TcpStream, switch::Switch};

/// Where DNS is spoken.
pub(crate) const PORT: u16 = 53;
/// How long a connection may say nothing.
const SILENCE: Duration = Duration::from_secs(10);
/// Questions in one connection.
const QUESTIONS: usize = 1000;

impl Switch {
    /// Answers a question that came as a datagram.
    pub(crate) fn answer_datagram(
        &self,
        client: SocketAddr,
        server: SocketAddr,
        question: &Bytes,
    ) -> Result<(), NetError> {
        let answer = self.with_names(|names, domain| answer(question, names, domain, None));
        match answer {
            Some(answer) => self.arrive(server, client, answer.into()),
            // What is no question is not answered.
            None => Ok(()),
        }
    }

    /// A connection to the server.
    ///
    /// # Errors
    /// `NewSocketLimit` when too many are open.
    pub(crate) fn connect_to_dns(
        self: &Arc<Self>,
        client: SocketAddr,
        server: SocketAddr,
    ) -> Result<TcpStream, NetError> {
        let permit = Arc::clone(&self.dns_connections).try_acquire_owned();
        let permit = permit.map_err(|_| NetError::NewSocketLimit)?;
        let (near, far) = TcpStream::pair(client, server);
        let switch = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut stream = far;
            for _ in 0..QUESTIONS {
                let Ok(Ok(question)) = timeout(SILENCE, read(&mut stream)).await else {
                    break;
                };
                let Some(switch) = switch.upgrade() else {
                    break;
                };
                let answer = switch
                    .with_names(|names, domain| answer(&question, names, domain, Some(STREAM)));
                let Some(answer) = answer else { break };
                if !matches!(
                    timeout(SILENCE, write(&mut stream, &answer)).await,
                    Ok(Ok(()))
                ) {
                    break;
                }
            }
            drop(permit);
        });
        Ok(near)
    }
}

async fn read(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let size = stream.read_u16().await?;
    let mut question = vec![0; size.into()];
    stream.read_exact(&mut question).await?;
    Ok(question)
}

async fn write(stream: &mut TcpStream, answer: &[u8]) -> std::io::Result<()> {
    let size = u16::try_from(answer.len()).map_err(std::io::Error::other)?;
    stream.write_u16(size).await?;
    stream.write_all(answer).await
}

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::{Message, Query},
        rr::{Name, RecordType},
    };

    use super::*;
    use crate::{
        service::Protocol,
        switch::SwitchConfig,
        testing::{at, pod, serve},
    };

    fn question(name: &str) -> Vec<u8> {
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        question.to_vec().unwrap()
    }

    fn answers(bytes: &[u8]) -> Vec<String> {
        let answer = Message::from_vec(bytes).unwrap();
        answer
            .answers
            .iter()
            .map(|one| one.data.to_string())
            .collect()
    }

    #[tokio::test]
    async fn pods_ask_by_datagram_and_by_connection() {
        let switch = Switch::new(SwitchConfig {
            dns_ip: Some("10.96.0.10".parse().unwrap()),
            ..SwitchConfig::default()
        });
        serve(&switch, "10.96.0.20", Protocol::Tcp, &["10.1.0.1"]);
        let client = pod(&switch, "c", "10.1.0.2");
        let web = question("web.default.svc.cluster.local.");
        let socket = client.udp_bind(at("0.0.0.0:0")).unwrap();
        socket.connect(Some(at("10.96.0.10:53"))).unwrap();
        socket.send(web.clone().into(), None).unwrap();
        let answer = socket.recv().await.unwrap();
        assert_eq!(answers(&answer.data), ["10.96.0.20"]);
        assert_eq!(answer.source, at("10.96.0.10:53"));
        socket
            .send(Bytes::from_static(b"no question"), None)
            .unwrap();
        assert_eq!(socket.try_recv(), Err(NetError::WouldBlock));
        let mut stream = client.tcp_connect(at("10.96.0.10:53")).await.unwrap();
        for _ in 0..2 {
            write(&mut stream, &web).await.unwrap();
            let answer = read(&mut stream).await.unwrap();
            assert_eq!(answers(&answer), ["10.96.0.20"]);
        }
        assert_eq!(
            client.tcp_connect(at("10.96.0.10:54")).await.unwrap_err(),
            NetError::RemoteUnreachable
        );
        // A Service that has the address has the questions.
        serve(&switch, "10.96.0.10", Protocol::Udp, &["10.1.0.1"]);
        let own = pod(&switch, "s", "10.1.0.1")
            .udp_bind(at("0.0.0.0:8080"))
            .unwrap();
        socket.send(web.into(), None).unwrap();
        own.recv().await.unwrap();
    }
}
