"""What optimised schedules do for networks trained on real pictures, with intervals over seeds."""
