//! `[[link.extra]]`: other ways, to components that the autopilot's link does not lead to.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de};

use super::{Link, Mistake, Signing, signing, value};
use crate::edge::link::Endpoint;
use crate::guard::extra_link::ExtraLink;

/// Each has a task and its buffers.
const MAX_LINKS: usize = 4;
const MAX_COMPONENTS: usize = 4;
const MAX_NAME: usize = 32;

#[derive(Debug)]
pub struct Extra {
    pub endpoint: Endpoint,
    /// `None`: MAVLink frames are not signed.
    pub signing: Option<Signing>,
    pub link: ExtraLink,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawExtraLink {
    pub(super) name: String,
    #[serde(deserialize_with = "endpoint")]
    endpoint: Endpoint,
    components: Vec<u8>,
    pub(super) signing_key_file: Option<PathBuf>,
    signing_link_id: Option<u8>,
}

/// `main`: the link that they stand beside.
pub fn check(all: Vec<RawExtraLink>, main: &Link) -> Result<Vec<Extra>, Mistake> {
    if all.len() > MAX_LINKS {
        let message = format!("{} are too many; at most {MAX_LINKS} are served", all.len());
        return Err(wrong("name", message));
    }
    let mut checked: Vec<Extra> = Vec::new();
    for (default_link_id, raw) in (1..).zip(all) {
        let RawExtraLink { name, endpoint, components, signing_key_file, signing_link_id } = raw;
        check_name(&name, &checked)?;
        let endpoints = checked.iter().map(|it| &it.endpoint).chain([&main.endpoint]);
        if endpoints.into_iter().any(|it| it.is_same_port(&endpoint)) {
            let message = format!("{endpoint} is the port of two links");
            return Err(wrong("endpoint", message));
        }
        let components = check_components(&name, &components, main, &checked)?;
        let signing =
            signing::check("link.extra", signing_key_file, signing_link_id, default_link_id)?;
        let others = checked.iter().map(|it| &it.signing).chain([&main.signing]);
        check_link_id(&name, signing.as_ref(), others.flatten())?;
        checked.push(Extra { endpoint, signing, link: ExtraLink { name, components } });
    }
    Ok(checked)
}

fn check_name(name: &str, others: &[Extra]) -> Result<(), Mistake> {
    let fits = |it: char| it.is_ascii_alphanumeric() || "-_".contains(it);
    if !(1..=MAX_NAME).contains(&name.len()) || !name.chars().all(fits) {
        let message =
            format!("{name:?} must have 1 to {MAX_NAME} letters, digits, hyphens and underscores");
        return Err(wrong("name", message));
    }
    if others.iter().any(|it| it.link.name == name) {
        return Err(wrong("name", format!("{name:?} is there twice")));
    }
    Ok(())
}

fn check_components(
    name: &str,
    components: &[u8],
    main: &Link,
    others: &[Extra],
) -> Result<BTreeSet<u8>, Mistake> {
    if !(1..=MAX_COMPONENTS).contains(&components.len()) {
        let message =
            format!("the link {name} has {}; it must be 1 to {MAX_COMPONENTS}", components.len());
        return Err(wrong("components", message));
    }
    let mut unique = BTreeSet::new();
    for component in components {
        let is_taken = others.iter().any(|it| it.link.components.contains(component));
        let message = if *component == 0 {
            "0 is a broadcast; it must be 1 to 255".to_owned()
        } else if *component == main.target.component {
            format!("{component} is the autopilot, which [link] endpoint leads to")
        } else if *component == main.source.component && main.target.may_be_of(main.source.system) {
            format!("{component} is our own")
        } else if is_taken || !unique.insert(*component) {
            format!("{component} is there twice; a component is behind one link")
        } else {
            continue;
        };
        return Err(wrong("components", message));
    }
    Ok(unique)
}

/// Each link signs on its own: two of one id would use one timestamp twice.
fn check_link_id<'a>(
    name: &str,
    signing: Option<&Signing>,
    mut others: impl Iterator<Item = &'a Signing>,
) -> Result<(), Mistake> {
    let Some(Signing { link_id, .. }) = signing else { return Ok(()) };
    if others.any(|it| it.link_id == *link_id) {
        let message = format!("the link {name} has {link_id}, as another one; each needs its own");
        return Err(wrong("signing_link_id", message));
    }
    Ok(())
}

fn wrong(key: &'static str, message: String) -> Mistake {
    value("link.extra", key, message)
}

fn endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Endpoint, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|error| de::Error::custom(format!("link.extra.endpoint: {error}")))
}
