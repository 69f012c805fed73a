//! Lists: one snapshot of pointers, encoded chunk by chunk while the client takes it. Nothing is built twice, and nothing is parsed unless a
//! selector or a Table needs it.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    vec,
};

use axum::{BoxError, body::Body};
use bytes::Bytes;
use coracle_api::{registry::Resource, status::ApiError};
use coracle_store::{List, Record, Storage, StoreError};
use futures::stream;
use http_body::{Body as HttpBody, Frame, SizeHint};
use jiff::Timestamp;

use super::{
    selection::Selection,
    version::{self, ReadAt},
    view::{ListMeta, TAIL, View},
};
use crate::{
    continuation::Continuation, encoded::Stored, error, keys, negotiation::Shape, query::Query,
};

/// The objects of a list, before they are shown.
#[derive(Debug)]
pub struct Listed {
    /// In key order.
    pub items: Vec<Arc<Record>>,
    /// What the list says about itself.
    pub meta: ListMeta,
}

impl Listed {
    /// About how large the list is.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.items.iter().map(|record| record.value.len()).sum()
    }
}

/// Between so many records that a selector looks at, others get a turn.
const YIELD_EVERY: usize = 256;

/// Takes the snapshot a list request asks for.
///
/// # Errors
/// `BadRequest`, `Expired` (the revision or token is too old), `Timeout` (it is in the future), and what the store says.
pub async fn take(
    store: &dyn Storage,
    resource: &Resource,
    namespace: Option<&str>,
    selection: &Selection,
    query: &Query,
) -> Result<Listed, ApiError> {
    let limit = query.number::<usize>("limit")?.filter(|limit| *limit > 0);
    let read_at = version::read_at(query, limit.is_some(), store.revision())?;
    let prefix = keys::collection(resource, namespace);
    let continuation = query
        .text("continue")
        .map(Continuation::decode)
        .transpose()?;
    let at = match (&continuation, read_at) {
        (Some(continuation), _) => continuation.revision,
        (None, ReadAt::Exactly(revision)) => Some(revision),
        (None, ReadAt::Latest) => None,
    };
    let after = continuation
        .as_ref()
        .map(|c| format!("{prefix}{}", c.after));
    if let (Some(name), Some(_) | None, None) = (selection.only_name(), namespace, at)
        && (namespace.is_some() || resource.is_cluster_scoped())
        && continuation.is_none()
    {
        return take_one(store, resource, namespace, name, selection).await;
    }
    let everything = selection.is_everything();
    let list = List {
        prefix: prefix.clone(),
        after: after.clone(),
        limit: limit.filter(|_| everything),
        at,
    };
    let page = match store.list(list).await {
        Ok(page) => page,
        Err(StoreError::Compacted { .. }) => {
            return Err(expired(&prefix, after.as_deref()));
        }
        Err(StoreError::Future { current }) => {
            return Err(version::too_large(at.unwrap_or_default(), current));
        }
        Err(error) => return Err(error::from_store(error)),
    };
    let mut listed = Listed {
        items: page.records,
        meta: ListMeta {
            revision: page.revision.0,
            ..ListMeta::default()
        },
    };
    let mut more = page.remaining > 0;
    if everything {
        listed.meta.remaining = more.then_some(page.remaining);
    } else {
        more = select(&mut listed.items, selection, limit).await?;
    }
    if more && let Some(last) = listed.items.last() {
        let token = Continuation {
            revision: match &continuation {
                // Pages of now go on as pages of now.
                Some(continuation) => continuation.revision,
                None => Some(page.revision),
            },
            after: last.key.get(prefix.len()..).unwrap_or_default().to_owned(),
        };
        listed.meta.continuation = Some(token.encode());
    }
    Ok(listed)
}

/// Keeps what the selection means, up to `limit`; says whether more would follow.
async fn select(
    items: &mut Vec<Arc<Record>>,
    selection: &Selection,
    limit: Option<usize>,
) -> Result<bool, ApiError> {
    let mut kept = Vec::new();
    for (n, record) in std::mem::take(items).into_iter().enumerate() {
        if n % YIELD_EVERY == YIELD_EVERY - 1 {
            tokio::task::yield_now().await;
        }
        if !selection.matches(&Stored::open(Arc::clone(&record))?)? {
            continue;
        }
        if limit.is_some_and(|limit| kept.len() >= limit) {
            *items = kept;
            return Ok(true);
        }
        kept.push(record);
    }
    *items = kept;
    Ok(false)
}

/// A list of at most one object: what informers of a single object ask for.
async fn take_one(
    store: &dyn Storage,
    resource: &Resource,
    namespace: Option<&str>,
    name: &str,
    selection: &Selection,
) -> Result<Listed, ApiError> {
    // The revision first: the object is then as of this revision or newer, and a watch from it misses nothing.
    let revision = store.revision();
    let key = keys::object(resource, namespace, name);
    let found = store.get(&key).await.map_err(error::from_store)?;
    let mut items = Vec::new();
    let mut newest = revision;
    if let Some(record) = found {
        newest = newest.max(record.modified);
        if selection.matches(&Stored::open(Arc::clone(&record))?)? {
            items.push(record);
        }
    }
    Ok(Listed {
        items,
        meta: ListMeta {
            revision: newest.0,
            ..ListMeta::default()
        },
    })
}

/// The refusal of a snapshot that is gone, with a token to go on without it where the list was in pages.
fn expired(prefix: &str, after: Option<&str>) -> ApiError {
    let Some(after) = after else {
        return ApiError::expired(
            "The resourceVersion for the provided list is too old.",
            None,
        );
    };
    let token = Continuation {
        revision: None,
        after: after.get(prefix.len()..).unwrap_or_default().to_owned(),
    };
    ApiError::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue \
         parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided \
         token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was \
         returned and now may show up in the list.",
        Some(token.encode()),
    )
}

/// Shows a list in protobuf. Its length comes first there, so that all of it is encoded before any is sent.
///
/// # Errors
/// `Internal` for damaged records.
pub async fn protobuf(listed: &Listed, view: &View) -> Result<Body, ApiError> {
    let mut list = view.protobuf_list(&listed.meta)?;
    for (n, record) in listed.items.iter().enumerate() {
        if n % YIELD_EVERY == YIELD_EVERY - 1 {
            tokio::task::yield_now().await;
        }
        let item = view.value(&Stored::open(Arc::clone(record))?)?;
        list.add(&item)
            .map_err(|error| ApiError::internal(format!("encoding protobuf: {error}")))?;
    }
    let pieces = list.finish().into_iter().map(Bytes::from);
    Ok(Body::from_stream(stream::iter(
        pieces.map(Ok::<_, Infallible>),
    )))
}

/// Shows a list as a body that is encoded while it is taken.
pub fn body(listed: Listed, view: View, now: Timestamp) -> Body {
    let mut head = Vec::with_capacity(CHUNK);
    view.write_list_head(&listed.meta, &mut head);
    let exact = (view.shape() == Shape::Object).then(|| plain_len(head.len(), &listed.items));
    Body::new(Encoding {
        remaining: exact.flatten(),
        buffer: head,
        items: Some(listed.items.into_iter()),
        first: true,
        view,
        now,
    })
}

/// The exact length of a plain list: what is spliced has a known length.
fn plain_len(head: usize, items: &[Arc<Record>]) -> Option<u64> {
    let mut len = head + TAIL.len() + items.len().saturating_sub(1);
    for record in items {
        len += Stored::open(Arc::clone(record)).ok()?.encoded_len();
    }
    u64::try_from(len).ok()
}

/// About how much is encoded at once: large enough that the cost per write vanishes, small enough for a thousand lists at a time.
const CHUNK: usize = 64 << 10;

/// A list on its way out.
struct Encoding {
    buffer: Vec<u8>,
    /// `None` when all is encoded.
    items: Option<vec::IntoIter<Arc<Record>>>,
    first: bool,
    view: View,
    now: Timestamp,
    /// How many bytes are still to come, where that is known.
    remaining: Option<u64>,
}

impl Encoding {
    /// Fills the buffer.
    fn fill(&mut self) -> Result<(), ApiError> {
        let Some(items) = &mut self.items else {
            return Ok(());
        };
        while self.buffer.len() < CHUNK {
            let Some(record) = items.next() else {
                self.buffer.extend_from_slice(TAIL);
                self.items = None;
                return Ok(());
            };
            if !std::mem::take(&mut self.first) {
                self.buffer.push(b',');
            }
            let stored = Stored::open(record)?;
            self.view.write_item(&stored, self.now, &mut self.buffer)?;
        }
        Ok(())
    }
}

impl HttpBody for Encoding {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Err(error) = self.fill() {
            // The head is out already: all that can be done is to break the answer off, which clients notice.
            self.items = None;
            self.buffer.clear();
            return Poll::Ready(Some(Err(error.into())));
        }
        if self.buffer.is_empty() {
            return Poll::Ready(None);
        }
        let capacity = if self.items.is_some() {
            CHUNK + CHUNK / 4
        } else {
            0
        };
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(capacity));
        if let Some(remaining) = &mut self.remaining {
            *remaining = remaining.saturating_sub(chunk.len() as u64);
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(chunk)))))
    }

    fn is_end_stream(&self) -> bool {
        self.items.is_none() && self.buffer.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.remaining
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
