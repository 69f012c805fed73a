//! What a node is told, by `coracle up` and by `coracle node`.

use anyhow::Context;
use clap::Args;
use coracle_api::quantity::Quantity;
use coracle_node::Config;

/// How a node is set up.
#[derive(Args, Clone, Debug)]
pub(crate) struct NodeSettings {
    /// The node's name. Left out: this machine's.
    #[arg(long = "node-name", env = "CORACLE_NODE_NAME")]
    name: Option<String>,
    /// What pods may use together, as `2` or `1500m`. Left out: every core.
    #[arg(long, value_parser = quantity)]
    cpu: Option<Quantity>,
    /// What pods may use together, as `4Gi`. Left out: all the machine has.
    #[arg(long, value_parser = quantity)]
    memory: Option<Quantity>,
    /// Pods at a time.
    #[arg(long, default_value_t = 110)]
    pods: u32,
}

impl NodeSettings {
    /// The node's name, in the form that names of nodes have.
    ///
    /// # Errors
    /// When the machine has no name that could be one.
    pub(crate) fn name(&self) -> anyhow::Result<String> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => std::fs::read_to_string("/proc/sys/kernel/hostname")
                .context("read this machine's name: give the node one with --node-name")?
                .trim()
                .to_lowercase(),
        };
        let is_name = !name.is_empty()
            && name.len() <= 253
            && name.split('.').all(|label| {
                !label.is_empty()
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.bytes().all(|byte| {
                        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
                    })
            });
        anyhow::ensure!(
            is_name,
            "{name:?} is no name for a node: give it one of lower case letters, digits, - and . with --node-name"
        );
        Ok(name)
    }

    /// Puts the settings into an agent's configuration.
    pub(crate) fn apply(&self, config: &mut Config) {
        if let Some(cpu) = &self.cpu {
            config.capacity.cpu_millis = cpu.millis();
        }
        if let Some(memory) = &self.memory {
            config.capacity.memory_bytes = memory.value();
        }
        config.capacity.pods = self.pods;
    }
}

fn quantity(text: &str) -> Result<Quantity, String> {
    let quantity = Quantity::parse(text).map_err(|error| error.to_string())?;
    if quantity.is_positive() {
        Ok(quantity)
    } else {
        Err("must be more than nothing".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_nodes() {
        let of = |name: &str| {
            NodeSettings {
                name: Some(name.to_owned()),
                cpu: None,
                memory: None,
                pods: 1,
            }
            .name()
        };
        assert_eq!(of("edge-1.lab").unwrap(), "edge-1.lab");
        for wrong in ["", "Edge", "a_b", "-a", "a..b"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn amounts_are_positive() {
        assert_eq!(quantity("1500m").unwrap().millis(), 1500);
        assert!(quantity("0").is_err() && quantity("lots").is_err());
    }
}
