"""What pages share: the frame, cached resources and panels. Not pages themselves.

Lives here: Streamlit code used by more than one page. Does not live here: computing anything (core).
"""
