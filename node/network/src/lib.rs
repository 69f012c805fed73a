//! The node's virtual network: switch, virtual IPs, balancing, names.
