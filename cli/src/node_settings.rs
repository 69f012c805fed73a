//! What a node is told, by `coracle up` and by `coracle node`.

use clap::Args;
use coracle_api::quantity::Quantity;
use coracle_node::{Config, addresses::PodRange};

/// How a node is set up.
#[derive(Args, Clone, Debug)]
pub(crate) struct NodeSettings {
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
    /// Puts the settings, and where pods get their addresses from, into an agent's configuration.
    ///
    /// # Errors
    /// When there are to be more pods than addresses.
    pub(crate) fn apply(&self, range: PodRange, config: &mut Config) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.pods <= range.size(),
            "{range} has addresses for {} pods, not for {}: give a larger network with --pod-cidr, or fewer --pods",
            range.size(),
            self.pods
        );
        config.pod_range = range;
        if let Some(cpu) = &self.cpu {
            config.capacity.cpu_millis = cpu.millis();
        }
        if let Some(memory) = &self.memory {
            config.capacity.memory_bytes = memory.value();
        }
        config.capacity.pods = self.pods;
        Ok(())
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
    fn amounts_are_positive() {
        assert_eq!(quantity("1500m").unwrap().millis(), 1500);
        assert!(quantity("0").is_err() && quantity("lots").is_err());
    }
}
