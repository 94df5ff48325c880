"""Parts of the panel of the module CardiacSeg: its pictures and its sections; the module file puts them together."""
