"""What the embedded backend's processes need of this machine: starting, stopping, ports, and the state folder."""
