//! Commands on the pod's network: what names stand for, connections, and HTTP.

use std::{io, time::Duration};

use coracle_sdk::net;
use futures::future::{Either, select};
use wstd::{
    io::{AsyncRead as _, AsyncWrite as _},
    iter::AsyncIterator as _,
    net::{TcpListener, TcpStream},
};

use super::{Done, Failure, Job};
use crate::streams::{Output, PIECE};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest head of an answer.
const HEAD_BYTES: usize = 64 << 10;
/// The most redirections followed.
const REDIRECTIONS: u32 = 5;

pub async fn nslookup(job: &mut Job<'_>) -> Done {
    let name = job.rest().first().ok_or("needs a name")?.clone();
    match net::lookup(&name).await {
        Ok(addresses) => {
            job.say(format!("Name:\t{name}\n")).await?;
            for address in addresses {
                job.say(format!("Address: {address}\n")).await?;
            }
            Ok(0)
        }
        Err(error) => {
            job.complain(&format!("can't resolve '{name}': {error}"))
                .await?;
            Ok(1)
        }
    }
}

/// `nc HOST PORT`, `nc -z HOST PORT`, `nc -l -p PORT`.
pub async fn nc(job: &mut Job<'_>) -> Done {
    let (mut listens, mut only_connects, mut patience, mut words) =
        (false, false, None, Vec::new());
    let mut args = job.rest().iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-l" | "-lp" => listens = true,
            "-z" => only_connects = true,
            "-w" => {
                let seconds = args.next().and_then(|seconds| seconds.parse().ok());
                patience = Some(Duration::from_secs(seconds.ok_or("-w needs a number")?));
            }
            "-p" | "-v" | "-n" => {}
            word if word.starts_with('-') => return Err(format!("unknown option {word}").into()),
            word => words.push(word.to_owned()),
        }
    }
    let stream = match (listens, words.as_slice()) {
        (true, [port]) | (true, [_, port]) => {
            let listener = TcpListener::bind(&format!("0.0.0.0:{port}")).await?;
            let mut incoming = listener.incoming();
            incoming.next().await.ok_or("nobody will come")??
        }
        (false, [host, port]) => {
            in_time(
                patience.unwrap_or(PATIENCE),
                net::connect(&format!("{host}:{port}")),
            )
            .await?
        }
        _ => return Err("needs a host and a port, or -l and a port".into()),
    };
    if only_connects {
        return Ok(0);
    }
    let mut stdin = job.take_stdin();
    let (mut reader, mut writer) = stream.split();
    let sending = async {
        loop {
            let piece = stdin.read().await?;
            if piece.is_empty() {
                // The connection stays open for the answer.
                return Ok::<_, io::Error>(());
            }
            writer.write_all(&piece).await?;
            writer.flush().await?;
        }
    };
    let out = job.out.clone();
    let receiving = async {
        let mut piece = vec![0; PIECE];
        loop {
            let read = reader.read(&mut piece).await?;
            if read == 0 {
                return Ok::<_, io::Error>(());
            }
            out.write(&piece[..read]).await?;
        }
    };
    let (sending, receiving) = (std::pin::pin!(sending), std::pin::pin!(receiving));
    match select(receiving, sending).await {
        Either::Left((received, _)) => received?,
        Either::Right((sent, receiving)) => {
            sent?;
            receiving.await?;
        }
    }
    Ok(0)
}

async fn in_time<T>(
    limit: Duration,
    doing: impl Future<Output = io::Result<T>>,
) -> Result<T, Failure> {
    let (doing, over) = (
        std::pin::pin!(doing),
        std::pin::pin!(wstd::task::sleep(limit.into())),
    );
    match select(doing, over).await {
        Either::Left((done, _)) => Ok(done?),
        Either::Right(_) => Err("timed out".into()),
    }
}

/// `wget [-q] [-S] [-O FILE] [--header=H] [--post-data=D] [-T SECONDS] URL`.
pub async fn wget(job: &mut Job<'_>) -> Done {
    let (mut to, mut headers, mut body, mut patience) = (None, String::new(), None, PATIENCE);
    let (mut is_quiet, mut shows_head, mut url) = (false, false, None);
    let mut args = job.rest().iter();
    while let Some(arg) = args.next() {
        let mut value = |what: &str| {
            args.next()
                .cloned()
                .ok_or_else(|| format!("{what} needs a value"))
        };
        match arg.as_str() {
            "-q" => is_quiet = true,
            "-S" => shows_head = true,
            "-O" | "-qO" => {
                is_quiet |= arg.contains('q');
                to = Some(value("-O")?);
            }
            "-O-" | "-qO-" => {
                is_quiet |= arg.contains('q');
                to = Some("-".to_owned());
            }
            "-T" => {
                let seconds: u64 = value("-T")?.parse().map_err(|_| "-T needs a number")?;
                patience = Duration::from_secs(seconds);
            }
            "--spider" => to = Some("/dev/null".to_owned()),
            long if long.starts_with("--header=") => {
                headers.push_str(&format!("{}\r\n", &long[9..]))
            }
            long if long.starts_with("--post-data=") => body = Some(long[12..].to_owned()),
            option if option.starts_with('-') => {
                return Err(format!("unknown option {option}").into());
            }
            given => url = Some(given.to_owned()),
        }
    }
    let mut url = url.ok_or("needs a URL")?;
    for _ in 0..=REDIRECTIONS {
        let asked = ask(&url, &headers, body.as_deref());
        let mut answer = in_time(patience, asked).await?;
        if shows_head {
            job.err.write(answer.head.as_bytes()).await?;
        }
        if let Some(next) = answer
            .header("location")
            .filter(|_| (300..400).contains(&answer.code))
        {
            url = if next.starts_with('/') {
                format!("http://{}{next}", address(&url)?.0)
            } else {
                next.to_owned()
            };
            continue;
        }
        if answer.code >= 400 {
            let status = answer.head.lines().next().unwrap_or_default().to_owned();
            return Err(format!("server returned error: {status}").into());
        }
        let name = to.unwrap_or_else(|| name_of(&url));
        let out = match name.as_str() {
            "-" => job.out.clone(),
            "/dev/null" => Output::Null,
            name => {
                let made = std::fs::File::create(job.shell.path(name));
                Output::File(
                    made.map_err(|error| format!("{name}: {}", super::told(&error)))?
                        .into(),
                )
            }
        };
        let length = answer.copy(&out).await?;
        if !is_quiet {
            job.err
                .write(format!("'{name}' saved, {length} bytes\n").as_bytes())
                .await?;
        }
        return Ok(0);
    }
    Err("too many redirections".into())
}

/// What a file of this URL is called.
fn name_of(url: &str) -> String {
    let path = url.split("://").nth(1).unwrap_or(url);
    let name = path
        .split('?')
        .next()
        .unwrap_or(path)
        .split('/')
        .skip(1)
        .last()
        .unwrap_or_default();
    if name.is_empty() {
        "index.html".to_owned()
    } else {
        name.to_owned()
    }
}

/// The host with its port, and the path.
fn address(url: &str) -> io::Result<(String, String)> {
    let rest = match url.split_once("://") {
        Some(("http", rest)) => rest,
        Some((other, _)) => return Err(io::Error::other(format!("{other} is not spoken here"))),
        None => url,
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    Ok((host.to_owned(), format!("/{path}")))
}

/// An HTTP answer whose body is still to come.
struct Answer {
    stream: TcpStream,
    code: u16,
    head: String,
    rest: Vec<u8>,
}

async fn ask(url: &str, headers: &str, body: Option<&str>) -> io::Result<Answer> {
    let (host, path) = address(url)?;
    let with_port = if host
        .rsplit(':')
        .next()
        .is_some_and(|port| port.parse::<u16>().is_ok())
        && host.contains(':')
    {
        host.clone()
    } else {
        format!("{host}:80")
    };
    let stream = net::connect(&with_port).await?;
    let method = if body.is_some() { "POST" } else { "GET" };
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: wget\r\naccept: */*\r\nconnection: close\r\n{headers}"
    );
    if let Some(body) = body {
        request.push_str(&format!(
            "content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ));
    } else {
        request.push_str("\r\n");
    }
    let (mut reader, mut writer) = stream.split();
    writer.write_all(request.as_bytes()).await?;
    writer.flush().await?;
    let (mut got, mut piece) = (Vec::new(), vec![0; PIECE]);
    let end = loop {
        if let Some(at) = got.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        let read = reader.read(&mut piece).await?;
        if read == 0 || got.len() > HEAD_BYTES {
            return Err(io::Error::other("the server does not speak HTTP"));
        }
        got.extend_from_slice(&piece[..read]);
    };
    let rest = got.split_off(end);
    let head = String::from_utf8_lossy(&got).into_owned();
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let code = code.ok_or_else(|| io::Error::other("the server does not speak HTTP"))?;
    drop((reader, writer));
    Ok(Answer {
        stream,
        code,
        head,
        rest,
    })
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        let mut found = lines
            .filter_map(|line| line.split_once(':'))
            .filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.trim())
    }

    /// The next bytes of the connection; none at the end.
    async fn some(&mut self) -> io::Result<Vec<u8>> {
        if !self.rest.is_empty() {
            return Ok(std::mem::take(&mut self.rest));
        }
        let mut piece = vec![0; PIECE];
        let read = self.stream.split().0.read(&mut piece).await?;
        piece.truncate(read);
        Ok(piece)
    }

    /// Writes the body. Says how long it was.
    async fn copy(&mut self, out: &Output) -> io::Result<u64> {
        let is_chunked = self
            .header("transfer-encoding")
            .is_some_and(|coding| coding.contains("chunked"));
        let mut written = 0;
        if !is_chunked {
            let mut left: Option<u64> = self
                .header("content-length")
                .and_then(|length| length.parse().ok());
            while left != Some(0) {
                let mut piece = self.some().await?;
                if piece.is_empty() {
                    break;
                }
                if let Some(left) = &mut left {
                    piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= piece.len() as u64;
                }
                written += piece.len() as u64;
                out.write(&piece).await?;
            }
            return Ok(written);
        }
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let mut left = usize::from_str_radix(size, 16)
                .map_err(|_| io::Error::other("a chunk without length"))?;
            if left == 0 {
                return Ok(written);
            }
            while left > 0 {
                let mut piece = self.some().await?;
                if piece.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                if piece.len() > left {
                    self.rest = piece.split_off(left);
                }
                left -= piece.len();
                written += piece.len() as u64;
                out.write(&piece).await?;
            }
            self.line().await?;
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        loop {
            let mut piece = self.some().await?;
            if piece.is_empty() || line.len() > HEAD_BYTES {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(at) = piece.iter().position(|byte| *byte == b'\n') {
                self.rest = piece.split_off(at + 1);
                line.extend(piece);
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            line.extend(piece);
        }
    }
}
