//! The controllers' decisions: one planner per controller.
