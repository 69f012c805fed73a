//! Requests for resources: finds the kind, then does what the verb says, for every kind the same. Subresources that are not a part of their
//! object are in [`crate::subresources`].

use std::sync::Arc;

use axum::{body::Body, response::Response};
use coracle_api::{protobuf, registry::Resource, status::ApiError};
use http::{HeaderMap, StatusCode, request::Parts};
use serde_json::Value;

use crate::{
    answer,
    auth::user::UserInfo,
    body,
    encoded::Stored,
    error, keys,
    negotiation::{self, Media, PROTOBUF, Representation, Shape},
    path::{RequestInfo, ResourcePath, Verb},
    query::Query,
    reads::{
        frames::Framer,
        list::{self, Listed},
        selection::Selection,
        view::{Include, View},
        watch::{self, Wish},
    },
    router::Compress,
    server::Shared,
    streams::CutOff,
    subresources, virtual_kinds,
    writes::{
        Write, WriteOptions, delete::Deleted, deletion::DeleteOptions, field_manager, input,
        patch::Patch, prepare::Part, update::Made,
    },
};

/// From this size on a list is worth compressing (for clients that accept it), as upstream.
const COMPRESS_FROM: usize = 128 << 10;

/// A request for a resource, taken apart.
pub struct Call<'a> {
    /// The server.
    pub server: &'a Arc<Shared>,
    /// Who asks.
    pub user: &'a UserInfo,
    /// What the path says.
    pub path: &'a ResourcePath,
    /// What is to be done.
    pub verb: Verb,
    /// The kind.
    pub resource: Arc<Resource>,
    /// The query.
    pub query: &'a Query,
    /// Everything of the request but the body.
    pub parts: &'a Parts,
}

/// Answers a request for a resource.
///
/// # Errors
/// Whatever is wrong with it; the caller makes the answer.
pub async fn handle(
    server: &Arc<Shared>,
    user: &UserInfo,
    info: &RequestInfo,
    query: &Query,
    parts: &Parts,
    body: Body,
) -> Result<Response, ApiError> {
    let Some(path) = &info.resource else {
        return Err(ApiError::no_such_resource());
    };
    let registry = server.registry();
    let resource = registry
        .get(&path.group, &path.version, &path.resource)
        .cloned()
        .ok_or_else(ApiError::no_such_resource)?;
    let is_proxied = path.subresource.as_deref() == Some("proxy");
    if resource.is_cluster_scoped() && path.object_namespace().is_some()
        || !path.rest.is_empty() && !is_proxied
    {
        return Err(ApiError::no_such_resource());
    }
    let call = Call {
        server,
        user,
        path,
        verb: info.verb,
        resource,
        query,
        parts,
    };
    match virtual_kinds::find(path) {
        Some(kind) => virtual_kinds::answer(&call, kind, body).await,
        None => call.answer(body).await,
    }
}

impl Call<'_> {
    async fn answer(&self, body: Body) -> Result<Response, ApiError> {
        let part = match self.path.subresource.as_deref() {
            None => Part::Main,
            Some(name) if self.resource.subresource(name).is_none() => {
                return Err(ApiError::no_such_resource());
            }
            Some("status") => Part::Status,
            Some("finalize") => Part::Finalize,
            Some("ephemeralcontainers") => Part::Ephemeral,
            Some(name) => return subresources::handle(self, name, body).await,
        };
        let name = || self.named().ok_or_else(ApiError::method_not_allowed);
        if !self.resource.is_cluster_scoped()
            && self.path.namespace.is_none()
            && !matches!(self.verb, Verb::List | Verb::Watch)
        {
            return Err(ApiError::method_not_allowed());
        }
        let verbs = &self.resource.verbs;
        let allowed = verbs.iter().any(|verb| verb.as_str() == self.verb.as_str());
        if part == Part::Main && !allowed {
            return Err(ApiError::method_not_allowed());
        }
        match (self.verb, part) {
            (Verb::Get, _) => self.get(name()?).await,
            (Verb::List, Part::Main) => self.list().await,
            (Verb::Watch, Part::Main) => self.watch().await,
            (Verb::Create, Part::Main) if self.named().is_none() => self.create(body).await,
            (Verb::Update, _) => self.replace(name()?, part, body).await,
            (Verb::Patch, Part::Main | Part::Status | Part::Ephemeral) => {
                self.patch(name()?, part, body).await
            }
            (Verb::Delete, Part::Main) => self.delete(name()?, body).await,
            (Verb::DeleteCollection, Part::Main) => self.delete_collection(body).await,
            _ => Err(ApiError::method_not_allowed()),
        }
    }

    /// The namespace of the objects meant.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.path.object_namespace()
    }

    /// The name of the object meant.
    #[must_use]
    pub fn named(&self) -> Option<&str> {
        match self.verb {
            // The name of a collection's only object is a selector's.
            Verb::List | Verb::Watch | Verb::DeleteCollection => None,
            _ => self.path.name.as_deref(),
        }
    }

    /// The headers of the request.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// Reads the body.
    ///
    /// # Errors
    /// See [`body::read`].
    pub async fn body(&self, body: Body) -> Result<bytes::Bytes, ApiError> {
        body::read(body, self.server.gate.limits().body_bytes).await
    }

    /// Reads a body that is an object of the kind.
    ///
    /// # Errors
    /// See [`input::object`].
    pub async fn object(&self, body: Body, write: &mut Write<'_>) -> Result<Value, ApiError> {
        let api_version = self.resource.api_version();
        let encoding = body::Encoding::of(self.headers(), &api_version, &self.resource.kind)?;
        let decoded = encoding.decode(&self.body(body).await?)?;
        let validation = write.options.validation;
        input::object(decoded, &self.resource, validation, &mut write.warnings)
    }

    /// What of the forms the kind has the client takes.
    ///
    /// # Errors
    /// `NotAcceptable`.
    pub fn accepted(&self) -> Result<Representation, ApiError> {
        let protobuf = protobuf::has(&self.resource.api_version(), &self.resource.kind);
        negotiation::negotiate(self.headers(), protobuf)
    }

    /// A write with the options of the query.
    ///
    /// # Errors
    /// `BadRequest` for options that do not exist.
    pub fn write(&self) -> Result<Write<'_>, ApiError> {
        Ok(Write {
            server: self.server,
            user: self.user,
            resource: Arc::clone(&self.resource),
            namespace: self.namespace(),
            subresource: self.path.subresource.as_deref(),
            options: WriteOptions::parse(self.query, self.headers(), self.options_kind())?,
            warnings: Vec::new(),
        })
    }

    /// What errors call the options of the request.
    fn options_kind(&self) -> &'static str {
        match self.verb {
            Verb::Update => "UpdateOptions",
            Verb::Patch => "PatchOptions",
            Verb::Delete | Verb::DeleteCollection => "DeleteOptions",
            _ => "CreateOptions",
        }
    }

    /// The stored object.
    ///
    /// # Errors
    /// `NotFound`, and what the store says.
    pub async fn read(&self, name: &str) -> Result<Stored, ApiError> {
        let key = keys::object(&self.resource, self.namespace(), name);
        match self
            .server
            .store
            .get(&key)
            .await
            .map_err(error::from_store)?
        {
            Some(record) => Stored::open(record),
            None => Err(ApiError::not_found(&self.resource, name)),
        }
    }

    /// An answer that shows one object.
    ///
    /// # Errors
    /// `NotAcceptable`.
    pub fn show(
        &self,
        code: StatusCode,
        stored: &Stored,
        warnings: &[String],
    ) -> Result<Response, ApiError> {
        let (view, media) = self.view()?;
        let shown = view.single(stored, self.server.ambient.now(), true)?;
        let mut response = answer::json(code, shown, media)?;
        answer::warn(&mut response, warnings);
        Ok(response)
    }

    fn view(&self) -> Result<(View, Media), ApiError> {
        let accepted = self.accepted()?;
        let include = match accepted.shape {
            Shape::Table(_) => Include::parse(self.query)?,
            _ => Include::None,
        };
        let view = View::new(Arc::clone(&self.resource), accepted.shape, include, None);
        Ok((view, accepted.media))
    }

    async fn get(&self, name: &str) -> Result<Response, ApiError> {
        crate::reads::version::read_at(self.query, false, self.server.store.revision())?;
        let stored = self.read(name).await?;
        self.show(StatusCode::OK, &stored, &[])
    }

    async fn list(&self) -> Result<Response, ApiError> {
        let selection = Selection::parse(&self.resource, self.query, None)?;
        let store = &*self.server.store;
        let listed = list::take(
            store,
            &self.resource,
            self.namespace(),
            &selection,
            self.query,
        )
        .await?;
        self.show_list(listed).await
    }

    /// An answer that shows a list.
    ///
    /// # Errors
    /// `NotAcceptable`.
    pub async fn show_list(&self, listed: Listed) -> Result<Response, ApiError> {
        let (view, media) = self.view()?;
        let large = listed.bytes() > COMPRESS_FROM;
        if media == Media::Protobuf {
            let body = list::protobuf(&listed, &view).await?;
            let guarded = self.server.streams.guard(body, self.cut_off());
            let mut response = answer::typed(StatusCode::OK, guarded, PROTOBUF);
            if large {
                response.extensions_mut().insert(Compress);
            }
            return Ok(response);
        }
        let body = list::body(listed, view, self.server.ambient.now());
        if media == Media::Yaml {
            let json = body::read(body, usize::MAX).await?;
            return answer::json(StatusCode::OK, json, media);
        }
        let guarded = self.server.streams.guard(body, self.cut_off());
        let mut response = answer::typed(StatusCode::OK, guarded, "application/json");
        if large {
            response.extensions_mut().insert(Compress);
        }
        Ok(response)
    }

    async fn watch(&self) -> Result<Response, ApiError> {
        let accepted = self.accepted()?;
        let include = match accepted.shape {
            Shape::Table(_) => Include::parse(self.query)?,
            _ => Include::None,
        };
        let parsed = Arc::clone(&self.server.parsed);
        let selection = Selection::parse(&self.resource, self.query, Some(Arc::clone(&parsed)))?;
        let view = View::new(
            Arc::clone(&self.resource),
            accepted.shape,
            include,
            Some(parsed),
        );
        let wish = Wish::parse(self.query, &*self.server.ambient)?;
        let permit = self.server.gate.open_stream(&self.user.name)?;
        let namespace = self.namespace();
        let prefix = match selection.only_name() {
            // A prefix of other names too, but of few: wakes up for little else.
            Some(name) if namespace.is_some() || self.resource.is_cluster_scoped() => {
                keys::object(&self.resource, namespace, name)
            }
            _ => keys::collection(&self.resource, namespace),
        };
        // Streams are JSON or protobuf.
        let protobuf = accepted.media == Media::Protobuf;
        let framer = Framer::new(view, selection, Arc::clone(&self.server.frames), protobuf);
        let body = watch::begin(
            &*self.server.store,
            &prefix,
            Arc::clone(&self.resource),
            wish,
            framer,
            Arc::clone(&self.server.ambient),
            permit,
        );
        let guarded = self.server.streams.guard(body.await?, self.cut_off());
        let media_type = match protobuf {
            true => "application/vnd.kubernetes.protobuf;stream=watch",
            false => "application/json",
        };
        Ok(answer::typed(StatusCode::OK, guarded, media_type))
    }

    /// How the listener lets the connection of this request be closed.
    #[must_use]
    pub fn cut_off(&self) -> Option<CutOff> {
        self.parts.extensions.get().cloned()
    }

    async fn create(&self, body: Body) -> Result<Response, ApiError> {
        let mut write = self.write()?;
        let object = self.object(body, &mut write).await?;
        let stored = write.create(object).await?;
        self.show(StatusCode::CREATED, &stored, &write.warnings)
    }

    async fn replace(&self, name: &str, part: Part, body: Body) -> Result<Response, ApiError> {
        let mut write = self.write()?;
        let object = self.object(body, &mut write).await?;
        let found = std::mem::take(&mut write.warnings);
        let insists = crate::meta::resource_version(&object).is_some();
        let made = Made { object, insists };
        let updated = write
            .update(name, part, |_, warnings| {
                warnings.extend_from_slice(&found);
                Ok(made.clone())
            })
            .await?;
        self.show(StatusCode::OK, &updated.stored, &write.warnings)
    }

    async fn patch(&self, name: &str, part: Part, body: Body) -> Result<Response, ApiError> {
        let patch = Patch::parse(self.headers(), &self.body(body).await?)?;
        let mut write = self.write()?;
        let force = self.query.optional_flag("force");
        if patch.is_applied() {
            let applied = write.apply(name, part, &patch, force == Some(true)).await?;
            let code = match applied.created {
                true => StatusCode::CREATED,
                false => StatusCode::OK,
            };
            return self.show(code, &applied.stored, &write.warnings);
        }
        if force.is_some() {
            return Err(field_manager::not_for_this_patch("force"));
        }
        let validation = write.options.validation;
        let resource = Arc::clone(&self.resource);
        let schema = resource.schema();
        let updated = write
            .update(name, part, |current: &Value, warnings| {
                let mut made = patch.apply(current, &schema)?;
                input::check_fields(&mut made.object, &resource, &[], validation, warnings)?;
                Ok(made)
            })
            .await?;
        self.show(StatusCode::OK, &updated.stored, &write.warnings)
    }

    async fn delete(&self, name: &str, body: Body) -> Result<Response, ApiError> {
        let bytes = self.body(body).await?;
        let options = DeleteOptions::parse(self.headers(), &bytes, self.query)?;
        let mut write = self.write()?;
        match write.delete(name, &options).await? {
            Deleted::Pending(stored) => self.show(StatusCode::OK, &stored, &[]),
            Deleted::Gone(object) => Ok(answer::value(
                StatusCode::OK,
                &answer::deleted(&self.resource, &object),
            )),
        }
    }

    async fn delete_collection(&self, body: Body) -> Result<Response, ApiError> {
        let bytes = self.body(body).await?;
        let options = DeleteOptions::parse(self.headers(), &bytes, self.query)?;
        let selection = Selection::parse(&self.resource, self.query, None)?;
        let store = &*self.server.store;
        let listed = list::take(
            store,
            &self.resource,
            self.namespace(),
            &selection,
            self.query,
        )
        .await?;
        let mut write = self.write()?;
        write.delete_all(&listed, &options).await?;
        Ok(answer::value(StatusCode::OK, &answer::success(None)))
    }
}
