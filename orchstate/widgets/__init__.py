"""Views made of ipywidgets: forms and lists that show what the store holds, and hold nothing themselves."""
