//! DNS messages: a question's bytes in, an answer's bytes out. Pure.

use std::{fmt::Write as _, net::IpAddr};

use hickory_proto::{
    op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, AAAA, SRV, TXT, name::CNAME, name::PTR, soa::SOA},
    },
};

use super::names::{Found, Names};

/// How long an answer may be kept: endpoints come and go (CoreDNS' value for Kubernetes).
const TTL: u32 = 5;
/// What fits into a datagram if the other side does not say (RFC 1035), and at the most.
const DATAGRAM: u16 = 512;
const DATAGRAM_MOST: u16 = 4096;
/// Aliases followed in one answer.
const ALIASES: usize = 8;

/// The largest answer over TCP.
pub(crate) const STREAM: usize = 65_535;

/// The answer to a question that came as `question`, of at most `room` bytes, or, if that is not given, what fits into a datagram. `None`: it is none that
/// could be answered.
#[must_use]
pub fn answer(
    question: &[u8],
    names: &Names,
    domain: &str,
    room: Option<usize>,
) -> Option<Vec<u8>> {
    let asked = Message::from_vec(question).ok()?;
    if asked.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut answer = Message::new(asked.metadata.id, MessageType::Response, OpCode::Query);
    answer.metadata = Metadata::response_from_request(&asked.metadata);
    answer.add_queries(asked.queries.iter().cloned());
    let mut limit = DATAGRAM;
    if let Some(edns) = &asked.edns {
        limit = edns.max_payload().clamp(DATAGRAM, DATAGRAM_MOST);
        let mut own = Edns::new();
        own.set_max_payload(DATAGRAM_MOST);
        answer.set_edns(own);
    }
    answer.metadata.response_code = match asked.queries.as_slice() {
        _ if asked.metadata.op_code != OpCode::Query => ResponseCode::NotImp,
        [one] if one.query_class() == DNSClass::IN => {
            resolve(one, names, domain, &mut answer).unwrap_or(ResponseCode::ServFail)
        }
        [_] => ResponseCode::Refused,
        _ => ResponseCode::FormErr,
    };
    let bytes = answer.to_vec().ok()?;
    if bytes.len() <= room.unwrap_or(limit.into()) {
        return Some(bytes);
    }
    answer.truncate().to_vec().ok()
}

fn resolve(
    query: &Query,
    names: &Names,
    domain: &str,
    answer: &mut Message,
) -> Option<ResponseCode> {
    let asked = query.name().clone();
    let text = text_of(&asked);
    if let Some(ip) = reverse(&text) {
        let found = names.name_of(ip).map(|name| format!("{name}.{domain}"));
        let Some(name) = found else {
            return Some(ResponseCode::NXDomain);
        };
        if matches!(query.query_type(), RecordType::PTR | RecordType::ANY) {
            let name = PTR(full(&name)?);
            answer.add_answer(record(asked, RData::PTR(name)));
        }
        answer.metadata.authoritative = true;
        return Some(ResponseCode::NoError);
    }
    let (mut owner, mut name) = (asked, text);
    for _ in 0..ALIASES {
        let is_inside = name == domain || name.ends_with(&format!(".{domain}"));
        if !is_inside {
            // Names of outside are not looked up: an alias is told, and what it stands for is the asker's to find.
            let has_alias = !answer.answers.is_empty();
            return Some(if has_alias {
                ResponseCode::NoError
            } else {
                ResponseCode::Refused
            });
        }
        answer.metadata.authoritative = true;
        let Some(found) = names.find(&name, domain) else {
            answer.add_authority(authority(domain)?);
            return Some(ResponseCode::NXDomain);
        };
        if let Some(alias) = &found.alias {
            let target = full(alias)?;
            let alias_record = RData::CNAME(CNAME(target.clone()));
            answer.add_answer(record(owner, alias_record));
            if query.query_type() == RecordType::CNAME {
                return Some(ResponseCode::NoError);
            }
            (owner, name) = (target, alias.clone());
            continue;
        }
        add(answer, &owner, query.query_type(), &found, names, domain)?;
        if answer.answers.is_empty() {
            answer.add_authority(authority(domain)?);
        }
        return Some(ResponseCode::NoError);
    }
    Some(ResponseCode::ServFail)
}

/// Adds the records of one type that a name has.
fn add(
    answer: &mut Message,
    owner: &Name,
    of: RecordType,
    found: &Found,
    names: &Names,
    domain: &str,
) -> Option<()> {
    let is = |one: RecordType| of == one || of == RecordType::ANY;
    for ip in &found.addresses {
        match ip {
            IpAddr::V4(_) if is(RecordType::A) => {}
            IpAddr::V6(_) if is(RecordType::AAAA) => {}
            _ => continue,
        }
        answer.add_answer(record(owner.clone(), address(*ip)));
    }
    if let Some(text) = found.text.as_ref().filter(|_| is(RecordType::TXT)) {
        let text = RData::TXT(TXT::new(vec![text.clone()]));
        answer.add_answer(record(owner.clone(), text));
    }
    if is(RecordType::SRV) {
        // All weigh the same, and together 100 (CoreDNS' way).
        let share = 100
            / u16::try_from(found.services.len())
                .unwrap_or(u16::MAX)
                .max(1);
        for (port, name) in &found.services {
            let name = format!("{name}.{domain}");
            let target = full(&name)?;
            let service = SRV::new(0, share.max(1), *port, target.clone());
            answer.add_answer(record(owner.clone(), RData::SRV(service)));
            let addresses = names.find(&name, domain).unwrap_or_default().addresses;
            for ip in addresses {
                answer.add_additional(record(target.clone(), address(ip)));
            }
        }
    }
    Some(())
}

fn address(ip: IpAddr) -> RData {
    match ip {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    }
}

fn record(owner: Name, data: RData) -> Record {
    Record::from_rdata(owner, TTL, data)
}

/// Says how long it may be remembered that there is nothing.
fn authority(domain: &str) -> Option<Record> {
    let (server, person) = (
        full(&format!("ns.dns.{domain}"))?,
        full(&format!("hostmaster.{domain}"))?,
    );
    let ttl = i32::try_from(TTL).ok()?;
    let soa = SOA::new(
        server,
        person,
        1,
        7200,
        1800,
        86_400,
        TTL.max(ttl.unsigned_abs()),
    );
    Some(record(full(domain)?, RData::SOA(soa)))
}

fn full(name: &str) -> Option<Name> {
    let mut text = String::with_capacity(name.len() + 1);
    write!(text, "{name}.").ok()?;
    Name::from_ascii(text).ok()
}

fn text_of(name: &Name) -> String {
    let text = name.to_ascii().to_ascii_lowercase();
    text.trim_end_matches('.').to_owned()
}

/// The address that a name of the reverse zones is for.
fn reverse(name: &str) -> Option<IpAddr> {
    if let Some(inner) = name.strip_suffix(".in-addr.arpa") {
        let mut parts: Vec<&str> = inner.split('.').collect();
        parts.reverse();
        return parts
            .join(".")
            .parse::<std::net::Ipv4Addr>()
            .ok()
            .map(IpAddr::from);
    }
    let inner = name.strip_suffix(".ip6.arpa")?;
    let mut digits: Vec<&str> = inner.split('.').collect();
    if digits.len() != 32 || digits.iter().any(|digit| digit.len() != 1) {
        return None;
    }
    digits.reverse();
    let number = u128::from_str_radix(&digits.concat(), 16).ok()?;
    Some(std::net::Ipv6Addr::from(number).into())
}

#[cfg(test)]
mod tests;
