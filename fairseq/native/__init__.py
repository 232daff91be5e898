"""Ground floor, needs torch only: C++ compiled at first use, the torch.compile wrapper, the allocator, float passes."""
